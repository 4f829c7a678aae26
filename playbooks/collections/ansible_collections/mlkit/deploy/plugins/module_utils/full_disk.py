"""What is said of a disk of this host that has no room: which, how much is left, how much is lacking, and what to do.

    disk_full(place, needed) -> words              `needed`: bytes that were to be written, where that is known
    why_not_written(error, place, what) -> words   of an OSError, whatever its reason
"""

import errno
import os
import shutil


def disk_full(place, needed=0):
    "The sentence, which begins as every cause of this kind does."
    while not os.path.exists(place):
        place = os.path.dirname(place) or "/"
    free = shutil.disk_usage(place).free
    words = f"disk full: on the host, {place} has {free / 1e6:.1f} MB free"
    if needed:
        words += f" of the {needed / 1e6:.1f} MB that are needed: {(needed - free) / 1e6:.1f} MB are lacking"
    return words + "; free some there, or keep fewer releases (service_keep_releases)"


def why_not_written(error, place, what):
    "`what` begins the sentence where the reason is another one; `place` is where it was to be written, if the error does not say."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(error.filename if isinstance(error.filename, str) else place)
    return f"{what}: {error}"
