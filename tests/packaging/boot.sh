# The life of the package where systemd runs: the root is booted for it. Only what `trial.service`
# asks for is started, whatever else is enabled in the root. Nothing of /run comes from outside.
rm -f /usr/sbin/policy-rc.d
cp /tmp/*.deb /root/proxyapp.deb
cat >/etc/systemd/system/trial.service <<'END'
[Unit]
Requires=basic.target
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash -eux /root/trial.sh
StandardOutput=file:/root/said
StandardError=file:/root/heard
END
cat >/root/trial.sh <<'END'
echo "=== install"
dpkg --force-unsafe-io -i /root/proxyapp.deb
for attempt in $(seq 600); do
    if curl -sS -x http://127.0.0.1:3128 http://proxyapp.invalid/ | grep '^Yes'; then break; fi
    sleep 0.2
done
echo "=== state"
systemctl is-active proxyapp
systemctl is-enabled proxyapp
stat -c '%n %F %A' /var/lib/private/proxyapp /var/lib/proxyapp
proxyapp --cache-list '*' || true  # 1: there is nothing yet
echo "=== upgrade"
before=$(systemctl show -P CanReload -P MainPID proxyapp | tr '\n' ' ')
dpkg --force-unsafe-io -i /root/proxyapp.deb
systemctl is-active proxyapp
echo "before: $before"
echo "after: $(systemctl show -P CanReload -P MainPID proxyapp | tr '\n' ' ')"
journalctl -q --no-pager -o cat -u proxyapp >/root/journal
echo "=== off"
systemctl disable -q --now proxyapp
dpkg --force-unsafe-io -i /root/proxyapp.deb
systemctl is-active proxyapp || true
systemctl is-enabled proxyapp || true
echo "=== purge"
systemctl enable -q --now proxyapp
dpkg --force-unsafe-io -P proxyapp
systemctl is-active proxyapp || true
END
mkdir -p /booted
mount --bind / /booted
timeout 400 systemd-nspawn --quiet --register=no --keep-unit --private-network --link-journal=no \
    --directory=/booted --boot systemd.unit=trial.service </dev/null >/tmp/console 2>&1 || true
if [[ ! -e /root/said ]]; then echo "=== unbooted"; tail -5 /tmp/console; exit; fi
cat /root/said
echo "=== heard"
cat /root/heard /root/journal
rm -r /booted /root/* 2>/dev/null || true
