#!/bin/sh
# The health check of the broker's container: well, or what is wrong in one line and exit 1.
#
# A stream whose write failed (a full disk) may refuse all that follow, also when there is room
# again: only a restart mends it. Then the server is ended here, in its own container and as its own
# user, and the restart policy starts it again.
store=${SERVER_STORE:-/var/lib/beam-nats}
room_kib=8192
said=$(printf 'GET /healthz HTTP/1.0\r\n\r\n' | nc -w 4 127.0.0.1 8222)
case $said in
  *" 200 OK"*) exit 0 ;;
esac
printf '%s\n' "${said:-no answer on port 8222}" | tail -n 1
case $said in
  *"write error"* | *"JetStream"*"disabled"*)
    free_kib=$(df -Pk "$store" | awk 'NR == 2 { print $4 }')
    if [ "${free_kib:-0}" -gt "$room_kib" ]; then
      echo "there is room again: ending the server, to be started anew"
      kill -TERM "${SERVER_PID:-1}"
    fi
    ;;
esac
exit 1
