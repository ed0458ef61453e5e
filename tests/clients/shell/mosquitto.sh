#!/bin/bash
# mosquitto_pub, mosquitto_sub and mosquitto_rr as a shell uses them, in all versions and levels.
set -euo pipefail
to=(-h "$MQTT_HOST" -p "$MQTT_PORT" -u guest -P guest)
run=$$-$(date +%s%N)

same() {
    if [ "$1" != "$2" ]; then
        printf '%s: expected\n%s\nand got\n%s\n' "$3" "$2" "$1" >&2
        exit 1
    fi
}

for version in 31 311 5; do
    for qos in 0 1 2; do
        topic=shell/$run/$version/$qos
        # A retained message tells that the subscriber is there to hear the others.
        mosquitto_pub "${to[@]}" -V "$version" -q 1 -r -t "$topic/ready" -m ready
        mapfile -t got < <(
            timeout 30 mosquitto_sub "${to[@]}" -V "$version" -q "$qos" -t "$topic/#" -C 12 -F %p |
                while read -r line; do
                    echo "$line"
                    if [ "$line" = ready ]; then
                        seq 10 | mosquitto_pub "${to[@]}" -V "$version" -q "$qos" -t "$topic/n" -l
                        mosquitto_pub "${to[@]}" -V "$version" -q 1 -r -t "$topic/ready" -n
                    fi
                done
        )
        numbers=$(printf '%s\n' "${got[@]}" | grep -E '^[0-9]+$' || true)
        same "$numbers" "$(seq 10)" "version $version, QoS $qos"
    done
done

# A session gathers what comes while its client is away.
session=(-i "shell-$run" -c -q 1 -t "shell/$run/away")
timeout 30 mosquitto_sub "${to[@]}" "${session[@]}" -E
seq 20 | mosquitto_pub "${to[@]}" -q 1 -t "shell/$run/away" -l
same "$(timeout 30 mosquitto_sub "${to[@]}" "${session[@]}" -C 20)" "$(seq 20)" "a session"

# A wrong password is told.
if mosquitto_pub -h "$MQTT_HOST" -p "$MQTT_PORT" -u guest -P wrong -t a -m b 2>/dev/null; then
    echo "a wrong password was taken" >&2
    exit 1
fi
echo "all versions and levels"
