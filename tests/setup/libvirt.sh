#!/usr/bin/env bash
# A real libvirt with QEMU for the tests, and an image of a guest that boots in seconds without hardware virtualization. libvirtd has
# namespaces of its own (network, processes, mounts): guests reach nothing outside, the machine's own libvirt, routes and firewall are
# not touched, and nothing is left when it stops.
#   libvirt.sh install            the packages only, also those that building with libvirt needs
#   libvirt.sh start DIR          prints how to reach it, as shell variables (also in DIR/env)
#   libvirt.sh exec DIR COMMAND   runs a command in the network where the guests are
#   libvirt.sh restart DIR        kills libvirtd, which is started again; guests go on
#   libvirt.sh stop DIR
# Needs root. Installs packages of Debian or Ubuntu that are missing; the guest's parts are unpacked, not installed.
#
# There are the network `default` (192.168.122.0/24, DHCP), the pool `default` for disks, the pool `images` with `tiny.qcow2` and the
# pool `small` with room for 20 MB. The guest serves HTTP on port 80: `/index.html` says how often it has booted, `/user-data` and
# `/meta-data` what its seed disk has. It answers a request to shut down.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

fail() { echo "libvirt.sh: $*" >&2; exit 1; }
say() { echo "libvirt.sh: $*" >&2; }
# Whether a line of what a command prints is this, but for blanks at its ends. Not by a pipe: grep would end before the command, which
# then fails.
prints() { local output; output=$("${@:2}" 2>/dev/null) || return 1; grep -qxE -- " *$1 *" <<<"$output"; }

action=${1:-} dir=${2:-}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ostler-tests
self=$(realpath "$0")

# The process around which the namespaces are, if it is the one that was started here.
keeper() {
    local process
    process=$(cat "$dir/keeper.pid" 2>/dev/null) || return 1
    [[ $({ tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null) == *"keep $dir "* ]] && echo "$process"
}

packages() {
    local package log missing=() wanted=(libvirt-daemon libvirt-clients libvirt-dev pkg-config qemu-system-x86 qemu-utils dnsmasq-base iptables iproute2 cpio curl)
    for package in "${wanted[@]}"; do
        prints 'install ok installed' dpkg-query -W -f='${Status}\n' "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "these packages are missing: ${missing[*]}"
    say "installing ${missing[*]}"
    log=$(mktemp)
    apt-get -qq update >&2
    # QEMU's parts must have one version: one from another archive would be removed, and libvirt cannot do without qemu-img.
    local version
    version=$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ {print $2}')
    apt-get -o DPkg::Lock::Timeout=300 -qq -y --allow-downgrades --no-install-recommends install \
        "${missing[@]/#qemu-utils/qemu-utils=$version}" "qemu-utils=$version" >"$log" 2>&1 ||
        { tail -n 5 "$log" >&2; fail "the packages cannot be installed"; }
    rm -f "$log"
}

# What the guest does from its start to its end.
guest_init() {
    cat <<'INIT'
#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /usr/bin /usr/sbin /sbin /www /seed /etc/acpi/PWRF /var/log /var/run
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
while read -r module; do insmod "/modules/$module" || echo "no $module"; done </modules/order
printf '#!/bin/sh\nsync\npoweroff -f\n' >/etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080
acpid
# The second partition has the number of boots, as text in its first sector.
boots=$(dd if=/dev/vda2 bs=16 count=1 2>/dev/null | tr -dc 0-9)
boots=$((${boots:-0} + 1))
printf '%-16s' "$boots" | dd of=/dev/vda2 bs=16 count=1 conv=notrunc 2>/dev/null
sync
for disk in /dev/vd[b-z]; do
    [ -b "$disk" ] && mount -t iso9660 -o ro "$disk" /seed 2>/dev/null && cp /seed/* /www/ && break
done
ip link set lo up
printf '#!/bin/sh\ncase $1 in bound|renew) ip addr flush dev $interface; ip addr add $ip/24 dev $interface;; esac\n' >/run/lease
chmod +x /run/lease
ip link set eth0 up && udhcpc -i eth0 -q -n -t 20 -T 1 -s /run/lease >/dev/null
echo "boots=$boots mac=$(cat /sys/class/net/eth0/address 2>/dev/null)" >/www/index.html
httpd -p 80 -h /www
echo "GUEST READY boots=$boots"
while true; do sleep 3600; done
INIT
}

# The image, made once for all runs: a boot partition (FAT, syslinux, kernel, initramfs) and one that holds a number. Made in plain
# files: nothing is mounted.
image() {
    local stamp
    stamp=$({ guest_init; declare -f build; } | sha256sum | cut -c1-16)
    image=$cache/tiny-$stamp.qcow2
    mkdir -p "$cache"
    exec 9>"$cache/tiny.lock"
    flock 9
    [ -f "$image" ] || build "$image"
    exec 9>&-
}

build() {
    local image=$1 parts=$cache/guest-parts work kernel module release
    say "building the guest"
    if [ ! -f "$parts/complete" ]; then
        rm -rf "$parts"
        mkdir -p "$parts/packages"
        kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ {print $2; exit}')
        [ -n "$kernel" ] || { apt-get -qq update >&2; kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}'); }
        [ -n "$kernel" ] || fail "no kernel for the guest (linux-image-cloud-amd64)"
        (cd "$parts/packages" && apt-get -qq download "$kernel" busybox-static syslinux syslinux-common mtools) >&2 || fail "the guest's parts cannot be fetched"
        for module in "$parts"/packages/*.deb; do dpkg -x "$module" "$parts"; done
        touch "$parts/complete"
    fi
    work=$(mktemp -d "$cache/guest.XXXXXX")
    mkdir -p "$work/root/bin" "$work/root/modules" "$work/root/dev"
    cp "$parts/bin/busybox" "$work/root/bin/"
    ln -s busybox "$work/root/bin/sh"
    release=$(basename "$parts"/lib/modules/*)
    # In the order of their dependencies.
    for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk failover net_failover virtio_net \
        virtio_balloon virtio-rng button evdev cdrom isofs; do
        cp "$(find "$parts/lib/modules/$release" -name "$module.ko")" "$work/root/modules/"
        echo "$module.ko" >>"$work/root/modules/order"
    done
    guest_init >"$work/root/init"
    chmod +x "$work/root/init"
    (cd "$work/root" && find . | cpio --quiet -o -H newc | gzip -6) >"$work/initrd.gz"
    cp "$parts/boot/vmlinuz-$release" "$work/vmlinuz"
    printf 'SERIAL 0 115200\nDEFAULT tiny\nPROMPT 0\nLABEL tiny\nKERNEL vmlinuz\nAPPEND initrd=initrd.gz console=ttyS0 quiet panic=1 nokaslr mitigations=off\n' >"$work/syslinux.cfg"
    # Sectors: the boot partition from 2048, then one of 2048.
    local first=2048 boot=65536 second
    second=$((first + boot))
    truncate -s $(((second + 4096) * 512)) "$work/disk"
    dd if="$parts/usr/lib/SYSLINUX/mbr.bin" of="$work/disk" bs=440 count=1 conv=notrunc status=none
    partition() { # status type first sectors: an entry of the partition table
        printf "$(printf '\\x%02x' "$1" 0xfe 0xff 0xff "$2" 0xfe 0xff 0xff $(($3 & 255)) $(($3 >> 8 & 255)) $(($3 >> 16 & 255)) $(($3 >> 24)) \
            $(($4 & 255)) $(($4 >> 8 & 255)) $(($4 >> 16 & 255)) $(($4 >> 24)))"
    }
    { partition 0x80 0x0e $first $boot; partition 0 0x83 $second 2048; head -c 32 /dev/zero; printf '\x55\xaa'; } |
        dd of="$work/disk" bs=1 seek=446 conv=notrunc status=none
    (
        export PATH=$parts/usr/bin:$PATH MTOOLS_SKIP_CHECK=1
        at=$((first * 512))
        mformat -i "$work/disk@@$at" -T $boot -h 16 -s 63 -H $first ::
        syslinux -t $at -i "$work/disk"
        mcopy -i "$work/disk@@$at" "$work/vmlinuz" "$work/initrd.gz" "$work/syslinux.cfg" ::/
    ) >&2
    qemu-img convert -f raw -O qcow2 -c "$work/disk" "$work/image"
    mv "$work/image" "$image"
    rm -rf "$work"
}

# The first process in the namespaces. It reaps at once: libvirt waits for an emulator that stays a zombie.
keep() {
    local part
    # libvirt reads the network's devices from /sys, which must be that of this namespace; the control groups stay.
    mkdir -p "$dir/cgroup"
    mount --rbind /sys/fs/cgroup "$dir/cgroup"
    mount -t sysfs sysfs /sys
    mount --rbind "$dir/cgroup" /sys/fs/cgroup
    for part in etc/libvirt run/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt; do
        mkdir -p "/$part" "$dir/root/$part"
        mount --bind "$dir/root/$part" "/$part"
    done
    # libvirt wants a user of this name, whoever its guests run as.
    for part in passwd group; do
        cp "/etc/$part" "$dir/root/etc/$part"
        grep -q '^libvirt-qemu:' "/etc/$part" || case $part in
        passwd) echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>"$dir/root/etc/passwd" ;;
        group) echo 'libvirt-qemu:x:64055:' >>"$dir/root/etc/group" ;;
        esac
        mount --bind "$dir/root/etc/$part" "/etc/$part"
    done
    printf 'listen_tls = 0\nunix_sock_rw_perms = "0700"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\nlog_outputs = "3:file:/var/log/libvirt/libvirtd.log"\n' >/etc/libvirt/libvirtd.conf
    printf 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nremember_owner = 0\n' >/etc/libvirt/qemu.conf
    mkdir -p "$dir/small"
    mount -t tmpfs -o size=20m tmpfs "$dir/small"
    ip link set lo up
    # Not where one of the machine's own, or of another directory, has its own.
    virtlogd --pid-file "$dir/virtlogd.pid" &
    # Started again when a test ends it.
    while true; do
        libvirtd --pid-file "$dir/libvirtd.pid" &
        wait $! || true
    done
}

start() {
    [ "$(id -u)" = 0 ] || fail "only root can make the namespaces"
    mkdir -p "$dir/root/etc" "$dir/disks" "$dir/images"
    dir=$(realpath "$dir")
    packages
    image
    if ! keeper >/dev/null; then
        setsid unshare --net --pid --mount --propagation private --mount-proc --fork --kill-child=KILL \
            bash "$self" keep "$dir" </dev/null >"$dir/keeper.log" 2>&1 &
        local outer=$! n
        for n in $(seq 100); do
            pgrep -P $outer >"$dir/keeper.pid" && break
            sleep 0.1
        done
    fi
    local uri="qemu+unix:///system?socket=$dir/root/run/libvirt/libvirt-sock" n
    v() { virsh -q -c "$uri" "$@"; }
    for n in $(seq 120); do
        v version >/dev/null 2>&1 && break
        [ "$n" -lt 120 ] || { tail -n 5 "$dir/keeper.log" "$dir/root/var/log/libvirt/libvirtd.log" >&2; fail "libvirtd does not start"; }
        sleep 0.5
    done
    if ! v net-info default >/dev/null 2>&1; then
        # Without `no-ping` the DHCP server waits three seconds for each new guest.
        cat >"$dir/network.xml" <<XML
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>default</name><forward mode='nat'/>
<bridge name='virbr0' stp='off' delay='0'/><ip address='192.168.122.1' netmask='255.255.255.0'>
<dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip>
<dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options></network>
XML
        v net-define "$dir/network.xml" >/dev/null
    fi
    prints default v net-list --name || v net-start default >/dev/null
    [ -f "$dir/images/tiny.qcow2" ] || cp "$image" "$dir/images/tiny.qcow2"
    local pool
    for pool in default:disks images:images small:small; do
        v pool-info "${pool%:*}" >/dev/null 2>&1 || v pool-define-as "${pool%:*}" dir --target "$dir/${pool#*:}" >/dev/null
        prints "${pool%:*}" v pool-list --name || v pool-start "${pool%:*}" >/dev/null
    done
    cat >"$dir/env" <<ENV
OSTLER_TEST_LIBVIRT=$uri
OSTLER_TEST_LIBVIRT_IMAGE=$dir/images/tiny.qcow2
OSTLER_TEST_LIBVIRT_EXEC="$self exec $dir"
OSTLER_TEST_LIBVIRT_RESTART="$self restart $dir"
ENV
    cat "$dir/env"
}

[ -n "$dir" ] || [ "$action" = install ] || fail "usage: libvirt.sh install, libvirt.sh start|restart|stop DIR, libvirt.sh exec DIR COMMAND"
case "$action" in
install) packages ;;
start) start ;;
keep) keep ;;
exec)
    process=$(keeper) || fail "nothing runs in $dir"
    shift 2
    exec nsenter -t "$process" --net -- "$@"
    ;;
restart)
    process=$(keeper) || fail "nothing runs in $dir"
    pkill -KILL -x -P "$process" libvirtd || fail "there is no libvirtd in $dir"
    ;;
stop)
    # The end of this process is the end of everything in its namespaces.
    process=$(keeper) && kill -KILL "$process"
    while keeper >/dev/null; do sleep 0.1; done
    rm -rf "$dir"
    ;;
*) fail "nothing is called `$action`" ;;
esac
