# The life of the package on a machine without systemd: installed, used, upgraded, removed, purged.
twistd=/usr/lib/proxyapp/bin/twistd
ini=/etc/proxyapp/proxyapp.ini
wants=/etc/systemd/system/multi-user.target.wants/proxyapp.service
made() { find /usr/lib/proxyapp -name '*.pyc' -o -name dropin.cache; }

echo "=== install"
dpkg --force-unsafe-io -i /tmp/*.deb
echo "=== installed"
dpkg-query -W -f '${Status}\n' proxyapp
readlink "$wants"
made | wc -l
grep -c proxyapp_plugin "$(made | grep dropin.cache)"

echo "=== command"
"$twistd" --help | grep ' proxyapp '
proxyapp --check
proxyapp || echo "status $?"

echo "=== run"
# As systemd does it for an account that is there only while the service runs.
mkdir -p /var/lib/private/proxyapp /var/log/private/proxyapp
chown 61234:61234 /var/lib/private/proxyapp /var/log/private/proxyapp
ln -s private/proxyapp /var/lib/proxyapp
ln -s private/proxyapp /var/log/proxyapp
chmod 755 /var/lib/private /var/log/private
sed -i 's/^#destinations = public/destinations = 127.0.0.1/' "$ini"
before=$(made | sort | sha256sum)
mkdir /tmp/origin && cd /tmp/origin && echo 'page 1' >p1.txt
/usr/bin/python3 -m http.server 8000 --bind 127.0.0.1 >/dev/null 2>&1 &
cd /
export STATE_DIRECTORY=/var/lib/proxyapp
start=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/proxyapp.service)
setpriv --reuid=61234 --regid=61234 --clear-groups $start >/tmp/said 2>&1 &
for attempt in $(seq 600); do
    if grep -q 'configuration: ' /tmp/said; then break; fi
    sleep 0.1
done
curl -sS --retry 20 --retry-connrefused --retry-delay 1 -x http://127.0.0.1:3128 http://127.0.0.1:8000/p1.txt
curl -sS -x http://127.0.0.1:3128 http://proxyapp.invalid/ | grep '^Yes'
curl -sS -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/wpad.dat
curl -sS http://127.0.0.1:8080/wpad.dat | grep -c 'PROXY 127.0.0.1:3128'
proxyapp --cache-list '*' || echo "status $?"
kill -TERM %2
wait %2 && echo "stopped"
kill %1
[[ $(made | sort | sha256sum) == "$before" ]] && echo "wrote nothing into /usr"
echo "=== said"
cat /tmp/said

echo "=== upgrade"
dpkg --force-unsafe-io --force-confold -i /tmp/*.deb
echo "=== upgraded"
grep '^destinations' "$ini"
made | wc -l

echo "=== remove"
dpkg --force-unsafe-io -r proxyapp
echo "=== removed"
if [[ ! -e /usr/lib/proxyapp ]]; then echo "no program"; fi
grep '^destinations' "$ini"
ls /var/lib/private

echo "=== purge"
dpkg --force-unsafe-io -P proxyapp
