// amqplib's confirm channels.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { collect, declare, event, unique, withConnection } from './support.mjs'

const opts = { timeout: 60_000 }

/** Runs `story` with a confirming channel. */
const withConfirms = (story) => withConnection(async (connection) => story(await connection.createConfirmChannel(), connection))

test('every message is confirmed', opts, withConfirms(async (channel) => {
  const queue = await declare(channel)
  for (let number = 0; number < 2000; number++) channel.sendToQueue(queue, Buffer.from('x'), { persistent: true })
  await channel.waitForConfirms()
  assert.equal((await channel.checkQueue(queue)).messageCount, 2000)
}))

test('an unroutable mandatory message returns, then is confirmed', opts, withConfirms(async (channel) => {
  const order = []
  channel.on('return', (message) => order.push(`return ${message.fields.replyCode} ${message.content}`))
  channel.publish('amq.direct', unique('nowhere'), Buffer.from('back'), { mandatory: true }, (error) => order.push(`confirm ${error}`))
  await channel.waitForConfirms()
  assert.deepEqual(order, ['return 312 back', 'confirm null'])
}))

test('a full queue that rejects answers with nack', opts, withConfirms(async (channel) => {
  const queue = await declare(channel, { maxLength: 1, overflow: 'reject-publish' })
  const send = () => new Promise((resolve) => channel.sendToQueue(queue, Buffer.from('x'), {}, (error) => resolve(error)))
  const results = []
  for (let number = 0; number < 5; number++) results.push(await send())
  assert.ok(results.filter((error) => error !== null).length >= 3, `${results}`)
}))

test('publishing to a missing exchange rejects what is unconfirmed', opts, withConfirms(async (channel) => {
  const error = event(channel, 'error')
  channel.publish(unique('missing'), 'key', Buffer.from('x'))
  await assert.rejects(channel.waitForConfirms())
  assert.equal((await error).code, 404)
}))

test('a large message passes', opts, withConfirms(async (channel) => {
  const queue = await declare(channel)
  const body = Buffer.alloc(10 * 2 ** 20, 'abcdefg')
  channel.sendToQueue(queue, body)
  await channel.waitForConfirms()
  const [message] = await collect(channel, queue, 1, { noAck: true })
  assert.ok(message.content.equals(body))
}))
