"""A host of Debian 13 that begins with nothing but sshd and Python: what the roles install there, and what runs on it.

The tests run in this order: the first one equips the host for the second.
"""

import pytest
from deploy_lab import Hosts, Load, changed, model_of
from package_relay import PackageRelay

INSTALL = ["-e", "engine_install=true", "-e", "proxy_install=true"]

# A test host may not raise its open-file limit, and its cgroups are mounted before it boots: see deploy/fleet/rootfs.
# So the engine is not started by its package, but by the role, after the same change as there.
BARE = r"""
service docker stop >/dev/null && service haproxy stop >/dev/null
apt-get -qq -y purge docker.io docker-cli containerd runc haproxy >/dev/null 2>&1
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
cat > /usr/local/sbin/fit-engine <<'END'
#!/bin/sh
[ ! -e /etc/init.d/docker ] || sed -i 's/^\(\s*\)ulimit .*/\1:/; s/^\(\s*\)cgroupfs_mount$/\1:/' /etc/init.d/docker
END
chmod +x /usr/sbin/policy-rc.d /usr/local/sbin/fit-engine
echo 'DPkg::Post-Invoke {"/usr/local/sbin/fit-engine";};' > /etc/apt/apt.conf.d/90fit-engine
"""


@pytest.fixture(scope="module")
def hosts(make_fleet, ansible):
    "One host of Debian 13."
    hosts = Hosts(make_fleet(1, suite="trixie"), ansible)
    hosts.fleet.ssh(1, BARE)
    return hosts


def test_an_empty_host_is_equipped_and_serves_after_one_command(hosts, release):
    assert hosts.fleet.ssh(1, "cat /etc/debian_version").startswith("13.")
    refused = hosts.deploy(release(1))
    assert refused.code == 2 and "h1 has no container engine that answers" in refused.output, refused.output
    with PackageRelay(hosts.fleet, 1):
        tried = hosts.deploy(release(1), *INSTALL, "--check")
        played = hosts.deploy(release(1), *INSTALL)
    assert "h1 would get docker.io and docker-cli" in tried.output, tried.output
    assert played.code == 0, played.output
    assert hosts.live() == model_of(1)
    assert hosts.fleet.ssh(1, "ls /etc/rc2.d | grep -c 'docker\\|haproxy'") == "2"


def test_a_second_release_and_a_rollback_lose_no_request(hosts, release):
    with Load(hosts.fleet.address(1)) as load:
        deployed = hosts.deploy(release(2))
        rolled_back = hosts.play("rollback", "-e", "service=flights")
    assert deployed.code == 0, deployed.output
    assert rolled_back.code == 0, rolled_back.output
    assert load.failures == [] and set(load.answers) == {model_of(1), model_of(2)}
    assert hosts.live() == model_of(1)
    again = hosts.deploy(release(1), *INSTALL)
    assert again.code == 0 and changed(again.output) == 0, again.output
