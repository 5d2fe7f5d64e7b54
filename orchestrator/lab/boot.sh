#!/bin/sh
# First process of a lab host, in namespaces of its own. What it needs comes in LAB_* variables.
# Descriptor 3: what it has to say, one word a line. Standard input: a line once the network is there;
# end of file instead means that whoever started the host is gone, and the host ends.
set -eu

read -r pid _ </proc/self/stat # still the machine's /proc, so the machine's number
echo "$pid" >&3

# The folder may lie below one that is about to be covered (/tmp, /root, /run): hold on to it.
mount --rbind "$LAB_FOLDER" /mnt
root=
if [ -n "$LAB_ROOTFS" ]; then
    root=/mnt/rootfs
    mount -t overlay -o "lowerdir=$LAB_ROOTFS,upperdir=/mnt/upper,workdir=/mnt/upper.work" overlay $root
    mount --rbind /dev $root/dev
    mount --rbind /sys $root/sys
fi
mount -t overlay -o "lowerdir=$root/etc,upperdir=/mnt/etc,workdir=/mnt/etc.work" overlay "$root/etc"
# Room for the folders that are mounted below, without making them on the machine. Not kept: the lab's
# own folder may lie below /var/lib, where it could not hold the upper layer.
mount -t tmpfs tmpfs /mnt/scratch
mkdir /mnt/scratch/upper /mnt/scratch/work
options=lowerdir=$root/var/lib,upperdir=/mnt/scratch/upper,workdir=/mnt/scratch/work
mount -t overlay -o "$options" overlay "$root/var/lib"
for folder in usr/bin usr/sbin usr/local/bin; do
    if [ -d "/mnt/hidden/$folder" ]; then
        mount -t overlay -o "lowerdir=/mnt/hidden/$folder:$root/$folder" overlay "$root/$folder"
    fi
done
for folder in root home tmp var/log var/lib/docker var/lib/containers var/lib/deploy; do
    mkdir -p "$root/$folder"
    if [ -d "/mnt/disk/$folder" ]; then
        mount --bind "/mnt/disk/$folder" "$root/$folder"
    elif [ -d "/mnt/$folder" ]; then
        mount --bind "/mnt/$folder" "$root/$folder"
    fi
done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir -p "$root/run/sshd" "$root/run/lock"
mount -t proc proc "$root/proc"
cat /proc/sys/kernel/random/uuid >/mnt/boot_id
mount --bind /mnt/boot_id "$root/proc/sys/kernel/random/boot_id"
if [ -n "$root" ]; then
    mkdir -p $root/mnt
    cd $root
    pivot_root . mnt
fi
cd /
umount -l /mnt
echo "$LAB_NAME" >/proc/sys/kernel/hostname

read -r _
ip -batch - <<END
link set lo up
addr add $LAB_ADDRESS/24 dev eth0
link set eth0 up
END
/usr/sbin/sshd -f /etc/ssh/sshd_config -E /var/log/sshd.log 3>&- || {
    cat /var/log/sshd.log >&2
    exit 1
}

# Podman takes no parent for its control groups: show it the host's part of every hierarchy as the whole.
own_cgroups() {
    grep -E ' (cgroup|cgroup2) ' /proc/mounts | while read -r _ hierarchy _; do
        if [ "$hierarchy" = /sys/fs/cgroup/unified ]; then
            umount "$hierarchy" # crun refuses version 1 with version 2 beside it
            continue
        fi
        group=$hierarchy
        for name in $(echo "$LAB_CGROUP" | tr / ' '); do
            if [ -e "$group/cgroup.subtree_control" ]; then
                sed 's/[a-z]*/+&/g' "$group/cgroup.controllers" >"$group/cgroup.subtree_control"
            fi
            mkdir -p "$group/$name"
            for file in cpuset.cpus cpuset.mems; do # version 1 starts a group with none
                if [ -e "$group/$name/$file" ] && [ ! -e "$group/cgroup.controllers" ]; then
                    cat "$group/$file" >"$group/$name/$file"
                fi
            done
            group=$group/$name
        done
        mount --bind "$group" "$hierarchy"
    done
}

start_engine() {
    # Left by an engine that was killed: it refuses to start beside them.
    rm -f /run/docker.pid /run/docker.sock
    case $LAB_KIND in
    bare) ;;
    podman)
        export PODMAN_IGNORE_CGROUPSV1_WARNING=1
        podman --cgroup-manager cgroupfs system service --time 0 unix:///run/docker.sock \
            >>/var/log/engine.log 2>&1 </dev/null 3>&- &
        echo $! >/run/docker.pid
        for policy in always unless-stopped; do # as Debian's podman-restart does after a reboot
            podman --cgroup-manager cgroupfs start --all --filter restart-policy=$policy \
                >>/var/log/engine.log 2>&1 </dev/null 3>&-
        done &
        ;;
    *)
        dockerd --host unix:///run/docker.sock --exec-root /run/docker --pidfile /run/docker.pid \
            --data-root /var/lib/docker --cgroup-parent "$LAB_CGROUP" \
            --exec-opt native.cgroupdriver=cgroupfs --config-file /etc/docker/daemon.json \
            --group docker --log-level warn >>/var/log/engine.log 2>&1 </dev/null 3>&- &
        ;;
    esac
}

[ "$LAB_KIND" != podman ] || own_cgroups
set +e
trap start_engine USR1
start_engine
echo ready >&3
exec 3>&- </dev/null
while :; do # and reap whatever ends: it is process 1
    sleep infinity &
    pause=$! # the trap changes $!
    wait $pause
    kill $pause 2>/dev/null
done
