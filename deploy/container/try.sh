# What container_test.go runs, with the words between @ filled in: both containers of
# compose.yaml, without an engine.

ip link set lo up
echo '127.0.0.1 localhost prosody' >@DIR@/hosts
mount --bind @DIR@/hosts /etc/hosts
data=@DIR@/data certs=@DIR@/certs
mkdir -p "$data" @IMAGE@/certs
chown -R prosody:prosody "$data"
@CERTS@
chmod 755 @DIR@ $(dirname @DIR@)
mount --bind "$data" /var/lib/prosody
mount --bind "$certs" /etc/prosody/certs
mount --bind prosody/prosody.cfg.lua /etc/prosody/prosody.cfg.lua
as_prosody() { setpriv --reuid=prosody --regid=prosody --init-groups --no-new-privs "$@"; }
as_prosody "$PWD/prosody/start" &
prosody=$!
until [ -e "$certs/example.com.crt" ]; do kill -0 $prosody; sleep 0.1; done
for name in me user; do
	yes mypassword | head -2 | as_prosody prosodyctl adduser "$name@example.com"
done

touch @IMAGE@/etc/posthorn/posthorn.yaml @IMAGE@/etc/hosts
mount --bind @IMAGE@ @IMAGE@
mount --bind @DIR@/hosts @IMAGE@/etc/hosts
@MOUNTS@
mkdir -p @DIR@/state
chown @USER@ @DIR@/state
mount --bind @DIR@/state @IMAGE@/var/lib/posthorn
mount -o remount,bind,ro @IMAGE@
inside="env -i @ENV@ setpriv --no-new-privs $(command -v chroot) --userspec=@USER@ @IMAGE@"
$inside @COMMAND@ &
posthorn=$!
until curl -s localhost:5288/readyz | grep '"stream":"up"'; do kill -0 $posthorn; sleep 0.1; done
$inside @PROGRAM@ check
touch @IMAGE@/x 2>/dev/null || echo "read-only: yes"
awk '/^[UG]id/ { ids = ids " " $2 } END { print "user:" ids }' /proc/$posthorn/status
curl -s localhost:5288/msg/user -u me@example.com:mypassword -d 'disk full'
cat /var/lib/prosody/example%2ecom/offline/user.list
kill $posthorn
wait $posthorn
