#!/bin/sh
# First process of the builder: the machine's network and files, mounts and processes of its own, so that
# nothing a build left mounted or running outlives it. LAB_BUILDER: its folder;
# LAB_CGROUP: the control group above those of its containers.
set -eu
read -r pid _ </proc/self/stat
echo "$pid" >&3
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
rm -f "$LAB_BUILDER/docker.sock"
echo "{}" >/mnt/none.json
read -r _
dockerd --host "unix://$LAB_BUILDER/docker.sock" --data-root "$LAB_BUILDER/data" --exec-root /mnt/docker \
    --pidfile /mnt/docker.pid --bridge none --iptables=false --ip-forward=false --ip-masq=false \
    --cgroup-parent "$LAB_CGROUP" --exec-opt native.cgroupdriver=cgroupfs \
    --config-file /mnt/none.json --log-level warn </dev/null 3>&- &
engine=$!
set +e
trap 'kill -TERM $engine; wait $engine; exit 0' TERM
echo ready >&3
exec 3>&- </dev/null
while kill -0 $engine 2>/dev/null; do
    wait $engine
done
