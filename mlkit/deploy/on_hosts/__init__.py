"""What runs on the hosts, imported from where it stands: the plugins/module_utils of the collection.

What a host and this library both say or reckon is written there once. It needs nothing but the standard library.
"""

from ...settings import shipped

__path__ = [str(shipped("playbooks/collections/ansible_collections/mlkit/deploy/plugins/module_utils"))]
