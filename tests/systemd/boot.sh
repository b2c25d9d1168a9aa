# Boots systemd in namespaces of its own, on top of this system's files, none of which it changes.
#
# boot.sh BASE PROGRAM: BASE is an empty folder, PROGRAM the marwatch that it will find as
# /usr/local/bin/marwatch. Says the number of systemd's process; lives until its standard input ends.
set -eu
base=$1
program=$2

mount --make-rprivate /
mount -t tmpfs -o mode=755,size=2g machine "$base"
cd "$base"
mkdir above work root groups

# systemd is the master of the control groups that it sees: these are its own.
mount -t cgroup2 cgroup2 groups
group=groups/marwatch-test-$$
mkdir "$group"
group_of_before=groups$(sed -n 's/^0:://p' /proc/self/cgroup)
echo $$ >"$group/cgroup.procs"

mount -t overlay -o lowerdir=/,upperdir=above,workdir=work machine root
cd root
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
# Where the kernel gives leases as it does on a disk.
for place in srv var/lib var/log; do mount -t tmpfs -o mode=755 memory $place; done
mount -t tmpfs -o mode=755 dev dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 dev/tty c 5 0
ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts dev/mqueue dev/hugepages
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s /proc/self/fd dev/fd
touch usr/local/bin/marwatch
mount --bind "$program" usr/local/bin/marwatch

# Nothing of this system is started but what every system has.
rm -rf etc/systemd/system
mkdir -p etc/systemd/system
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-random-seed.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service \
  systemd-firstboot.service systemd-repart.service systemd-binfmt.service systemd-logind.service \
  systemd-modules-load.service systemd-sysctl.service systemd-machine-id-commit.service \
  systemd-networkd.service systemd-resolved.service systemd-timesyncd.service networking.service \
  kmod-static-nodes.service dbus.service dbus.socket getty.target remote-fs.target \
  keyboard-setup.service console-setup.service apparmor.service ifupdown-pre.service \
  proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
  sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
  systemd-journal-flush.service e2scrub_reap.service systemd-user-sessions.service; do
  ln -s /dev/null "etc/systemd/system/$unit"
done
mkdir -p mnt/before
cd ..

# The first process in there; it still sees this /proc, and so knows its number in it.
cat >inside.sh <<'END'
set -eu
read -r number rest </proc/self/stat
cd "$1/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
pivot_root . mnt/before
cd /
umount -l /mnt/before
echo "$number"
exec >/run/systemd-says 2>&1 </dev/null
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
  --unit=multi-user.target --log-target=journal --show-status=no
END
exec 3<&0
unshare --mount --pid --fork --uts --ipc --net --cgroup --kill-child \
  sh inside.sh "$base" </dev/null &
boss=$!
cat <&3 >/dev/null || true
kill -KILL $boss || true
wait $boss 2>/dev/null || true
# Empty once everybody in there is gone, which takes the kernel a moment.
echo $$ >"$group_of_before/cgroup.procs"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  if find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; then exit 0; fi
  sleep 0.1
done
echo "$group is not empty" >&2
exit 1
