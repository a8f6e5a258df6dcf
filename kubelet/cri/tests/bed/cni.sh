#!/bin/sh
# A CNI plugin for the tests: a routed veth pair, addresses 10.88.0.0/16 counted upwards in a file. Also installed as `loopback`.
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec 3>&1 1>&2
reply() { echo "$1" >&3; exit 0; }
cat >/dev/null
[ "$CNI_COMMAND" = VERSION ] && reply '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}'
case "$(basename "$0")" in
loopback)
    [ "$CNI_COMMAND" = ADD ] && nsenter --net="$CNI_NETNS" ip link set lo up
    reply '{"cniVersion":"0.4.0","interfaces":[{"name":"lo"}],"ips":[{"version":"4","address":"127.0.0.1/8","interface":0}]}' ;;
esac
case "$CNI_COMMAND" in
ADD)
    exec 9>/run/test-cni.lock; flock 9
    n=$(cat /run/test-cni 2>/dev/null || echo 1); n=$((n + 1)); echo $n > /run/test-cni
    flock -u 9
    ip=10.88.$((n / 250)).$((n % 250 + 1)); host="v$(printf %s "$CNI_CONTAINERID" | cut -c1-12)"
    ip link add "$host" type veth peer name "p$host"; ip link set "p$host" netns "$CNI_NETNS"
    nsenter --net="$CNI_NETNS" ip link set "p$host" name eth0
    ip link set "$host" up; ip route replace "$ip/32" dev "$host" src 10.88.255.254
    mac=$(ip -o link show "$host" | sed 's/.*link\/ether \([^ ]*\).*/\1/')
    nsenter --net="$CNI_NETNS" sh -c "ip addr add $ip/32 dev eth0; ip link set eth0 up; ip route add 169.254.1.1 dev eth0 scope link; ip neigh add 169.254.1.1 lladdr $mac dev eth0; ip route add default via 169.254.1.1 dev eth0"
    reply "{\"cniVersion\":\"0.4.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"$CNI_NETNS\"}],\"ips\":[{\"version\":\"4\",\"address\":\"$ip/32\",\"interface\":0}]}" ;;
DEL) ip link del "v$(printf %s "$CNI_CONTAINERID" | cut -c1-12)" 2>/dev/null || true; exit 0 ;;
*) exit 0 ;;
esac
