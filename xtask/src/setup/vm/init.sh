#!/bin/busybox sh
# The first program of the virtual machine that tests Debian's own kernel: makes a machine as Debian has it (pure
# cgroup2, bpffs, kernel modules on demand) out of the host's disk, and runs the script that `job=` names.
end() { echo "the virtual machine cannot start: $1"; echo o > /proc/sysrq-trigger; sleep 60; }

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module" || end "$module"; done

# The disk, never written to: what is written stays in memory.
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /host || end "the host's disk"
mount -t tmpfs -o size=75% memory /memory
mkdir /memory/changed /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/changed,workdir=/memory/work overlay /root || end "overlay"

for one in proc sysfs:sys devtmpfs:dev tmpfs:run tmpfs:tmp tmpfs:var/log cgroup2:sys/fs/cgroup bpf:sys/fs/bpf tmpfs:var/lib/orlop; do
    mkdir -p "/root/${one#*:}"
    mount -t "${one%:*}" "${one%:*}" "/root/${one#*:}" || end "$one"
done
mkdir -p /root/dev/pts /root/dev/shm /root/run/netns /root/lib/modules
mount -t devpts devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm

vm=$(sed 's/.*vm=\([^ ]*\).*/\1/' /proc/cmdline)
job=$(sed 's/.*job=\([^ ]*\).*/\1/' /proc/cmdline)
mount --bind "/root$vm/root/lib/modules" /root/lib/modules
cp -r "/root$vm"/root/usr/lib/x86_64-linux-gnu/libkmod* "/root$vm"/root/lib/x86_64-linux-gnu/libkmod* /root/usr/lib/x86_64-linux-gnu/ 2>/dev/null
cp "/root$vm/root/bin/kmod" /root/usr/sbin/modprobe
ip link set lo up
# As systemd does: nothing runs in the root of the hierarchy.
mkdir /root/sys/fs/cgroup/init.scope
echo $$ > /root/sys/fs/cgroup/init.scope/cgroup.procs
echo 3 > /proc/sys/kernel/printk
exec switch_root /root /bin/sh -c "/bin/sh $job; echo o > /proc/sysrq-trigger; /bin/sleep 60"
