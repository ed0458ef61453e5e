// MQTT.js and amqplib over TLS: by password, and by a certificate alone.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import amqp from 'amqplib'
import mqtt from 'mqtt'
import { unique } from './support.mjs'

const HOST = process.env.TLS_HOST ?? 'localhost'
const paper = (name) => readFileSync(join(process.env.TLS_PAPERS ?? '.', name))
const trusted = { ca: [paper('ca.pem')] }
const certified = { ...trusted, cert: paper('client.pem'), key: paper('client.key') }
const login = { username: 'guest', password: 'guest' }

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  const only = { minVersion: version, maxVersion: version }
  for (const protocolVersion of [4, 5]) {
    for (const [how, options] of [['password', { ...trusted, ...login }], ['certificate', certified]]) {
      test(`MQTT.js ${protocolVersion} logs in by ${how} with ${version}`, async () => {
        const url = `mqtts://${HOST}:${process.env.MQTTS_PORT}`
        const clientId = unique('t').slice(-23)
        const client = await mqtt.connectAsync(url, { ...options, ...only, protocolVersion, clientId, reconnectPeriod: 0 })
        await client.subscribeAsync(clientId, { qos: 1 })
        const came = once(client, 'message')
        await client.publishAsync(clientId, Buffer.alloc(300_000, 'z'), { qos: 1 })
        const [, payload] = await came
        assert.equal(payload.length, 300_000)
        await client.endAsync()
      })
    }
  }
  for (const [how, options, credentials] of [
    ['password', trusted, amqp.credentials.plain('guest', 'guest')],
    ['certificate', certified, amqp.credentials.external()],
  ]) {
    test(`amqplib logs in by ${how} with ${version}`, async () => {
      const url = `amqps://${HOST}:${process.env.AMQPS_PORT}`
      const connection = await amqp.connect(url, { ...options, ...only, credentials })
      const channel = await connection.createConfirmChannel()
      const { queue } = await channel.assertQueue('', { exclusive: true })
      channel.sendToQueue(queue, Buffer.alloc(300_000, 'z'))
      await channel.waitForConfirms()
      const message = await channel.get(queue, { noAck: true })
      assert.equal(message.content.length, 300_000)
      await connection.close()
    })
  }
}
