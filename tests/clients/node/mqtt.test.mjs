// MQTT.js, unchanged: 3.1, 3.1.1 and 5.0 as applications use them.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { unique } from './support.mjs'

const HOST = process.env.MQTT_HOST ?? '127.0.0.1'
const PORT = process.env.MQTT_PORT ?? '1883'
const PATIENCE_MS = 20_000
const VERSIONS = [
  { protocolId: 'MQIsdp', protocolVersion: 3 },
  { protocolVersion: 4 },
  { protocolVersion: 5 },
]

const connect = (options = {}, url = `mqtt://${HOST}:${PORT}`) =>
  mqtt.connectAsync(url, {
    username: 'guest',
    password: 'guest',
    reconnectPeriod: 0,
    connectTimeout: PATIENCE_MS,
    clientId: unique('c').slice(-23),
    ...options,
  })

const messages = (client, count) =>
  new Promise((resolve, reject) => {
    const got = []
    const timer = setTimeout(() => reject(new Error(`only ${got.length}`)), PATIENCE_MS)
    client.on('message', (topic, payload, packet) => {
      got.push({ topic, text: payload.toString(), packet })
      if (got.length === count) {
        clearTimeout(timer)
        resolve(got)
      }
    })
  })

for (const version of VERSIONS) {
  const name = `MQTT ${version.protocolVersion}`

  for (const qos of [0, 1, 2]) {
    test(`${name}: what is published with QoS ${qos} arrives in order`, async () => {
      const client = await connect(version)
      const topic = unique('t')
      await client.subscribeAsync(topic, { qos })
      const got = messages(client, 200)
      // As many at once as any broker takes.
    for (let n = 0; n < 200; n += 10) {
      const numbers = [...Array(10).keys()].map((i) => n + i)
      await Promise.all(numbers.map((number) => client.publishAsync(topic, `${number}`, { qos })))
    }
      assert.deepEqual((await got).map(({ text }) => Number(text)), [...Array(200).keys()])
      await client.endAsync()
    })
  }

  test(`${name}: a session and its messages wait for their client`, async () => {
    const clientId = unique('s').slice(-23)
    const kept = { ...version, clientId, clean: false, properties: { sessionExpiryInterval: 60 } }
    if (version.protocolVersion !== 5) delete kept.properties
    const topic = unique('t')
    const away = await connect(kept)
    await away.subscribeAsync(topic, { qos: 1 })
    await away.endAsync()
    const publisher = await connect(version)
    for (let n = 0; n < 20; n++) await publisher.publishAsync(topic, `${n}`, { qos: 1 })
    const back = mqtt.connect(`mqtt://${HOST}:${PORT}`, {
      username: 'guest', password: 'guest', reconnectPeriod: 0, ...kept,
    })
    const got = await messages(back, 20)
    assert.deepEqual(got.map(({ text }) => Number(text)), [...Array(20).keys()])
    await back.endAsync()
    await publisher.endAsync()
  })

  test(`${name}: a will tells of a connection that broke`, async () => {
    const topic = unique('t')
    const watcher = await connect(version)
    await watcher.subscribeAsync(topic, { qos: 1 })
    const got = messages(watcher, 1)
    const dying = await connect({ ...version, will: { topic, payload: Buffer.from('gone'), qos: 1 } })
    dying.stream.destroy()
    assert.equal((await got)[0].text, 'gone')
    await watcher.endAsync()
    await dying.endAsync(true)
  })
}

test('a request is answered at its response topic', async () => {
  const [service, client] = [await connect({ protocolVersion: 5 }), await connect({ protocolVersion: 5 })]
  const [requests, answers] = [unique('q'), unique('a')]
  await service.subscribeAsync(requests, { qos: 1 })
  await client.subscribeAsync(answers, { qos: 1 })
  service.on('message', (_topic, payload, packet) => {
    const { responseTopic, correlationData } = packet.properties
    service.publish(responseTopic, `re: ${payload}`, { qos: 1, properties: { correlationData } })
  })
  const got = messages(client, 1)
  const properties = { responseTopic: answers, correlationData: Buffer.from([0, 255]) }
  await client.publishAsync(requests, 'hello', { qos: 1, properties })
  const [answer] = await got
  assert.equal(answer.text, 're: hello')
  assert.deepEqual(answer.packet.properties.correlationData, Buffer.from([0, 255]))
  await Promise.all([service.endAsync(), client.endAsync()])
})

test('a wrong password is refused', async () => {
  const client = mqtt.connect(`mqtt://${HOST}:${PORT}`, {
    username: 'guest', password: 'wrong', reconnectPeriod: 0, protocolVersion: 5,
  })
  const [error] = await once(client, 'error', { signal: AbortSignal.timeout(PATIENCE_MS) })
  assert.ok([0x86, 0x87].includes(error.code), String(error))
  await client.endAsync(true)
})
