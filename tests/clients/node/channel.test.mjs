// amqplib's channel API: declare, publish, consume, settle, refusals.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import amqp from 'amqplib'
import { URL, collect, declare, event, unique, withChannel, withConnection } from './support.mjs'

const opts = { timeout: 60_000 }

test('messages arrive in order with their properties', opts, withChannel(async (channel) => {
  const queue = await declare(channel)
  const headers = { text: 'Grüße', number: 5, wide: 2 ** 40, double: 2.5, yes: true, none: null, list: [1, 'two'], table: { deep: { er: 1 } } }
  for (let number = 0; number < 500; number++) {
    channel.sendToQueue(queue, Buffer.from(`${number}`), { headers, messageId: `${number}`, priority: 3, persistent: true, timestamp: 1_700_000_000 })
  }
  const messages = await collect(channel, queue, 500)
  messages.forEach((message, number) => {
    assert.equal(message.content.toString(), `${number}`)
    assert.equal(message.properties.messageId, `${number}`)
    assert.equal(message.properties.deliveryMode, 2)
    assert.deepEqual(message.properties.headers, headers)
    assert.equal(message.fields.deliveryTag, number + 1)
  })
  channel.ackAll()
}))

test('get takes one message or none', opts, withChannel(async (channel) => {
  const queue = await declare(channel)
  assert.equal(await channel.get(queue), false)
  channel.sendToQueue(queue, Buffer.from('one'))
  channel.sendToQueue(queue, Buffer.alloc(0))
  const first = await channel.get(queue)
  assert.equal(first.content.toString(), 'one')
  assert.equal(first.fields.messageCount, 1)
  channel.nack(first)
  const again = await channel.get(queue)
  assert.equal(again.fields.redelivered, true)
  channel.ack(again)
  assert.equal((await channel.get(queue, { noAck: true })).content.length, 0)
}))

test('exchanges route: direct, fanout, topic, headers, and one another', opts, withChannel(async (channel) => {
  const queue = await declare(channel)
  const [source, destination] = [unique('exchange'), unique('exchange')]
  await channel.assertExchange(source, 'topic', { autoDelete: true })
  await channel.assertExchange(destination, 'headers', { autoDelete: true })
  await channel.bindExchange(destination, source, 'a.#')
  await channel.bindQueue(queue, destination, '', { 'x-match': 'all', colour: 'red' })
  channel.publish(source, 'b', Buffer.from('other key'), { headers: { colour: 'red' } })
  channel.publish(source, 'a.b', Buffer.from('other colour'), { headers: { colour: 'blue' } })
  channel.publish(source, 'a.b.c', Buffer.from('wanted'), { headers: { colour: 'red' } })
  const [message] = await collect(channel, queue, 1)
  assert.equal(message.content.toString(), 'wanted')
  assert.equal(message.fields.exchange, source)
  await channel.unbindExchange(destination, source, 'a.#')
}))

test('a missing queue closes the channel with 404 and the connection goes on', opts, withChannel(async (channel, connection) => {
  const error = event(channel, 'error')
  await assert.rejects(channel.checkQueue(unique('missing')))
  assert.equal((await error).code, 404)
  await declare(await connection.createChannel())
}))

test('another declaration is refused with 406', opts, withChannel(async (channel) => {
  const { queue } = await channel.assertQueue(unique('queue'), { exclusive: true })
  const error = event(channel, 'error')
  await assert.rejects(channel.assertQueue(queue, { exclusive: true, messageTtl: 5000 }))
  assert.equal((await error).code, 406)
}))

test('an unknown delivery tag closes the channel with 406', opts, withChannel(async (channel) => {
  const error = event(channel, 'error')
  channel.ack({ fields: { deliveryTag: 77 } })
  assert.equal((await error).code, 406)
}))

test('a wrong password is refused', opts, async () => {
  const address = new globalThis.URL(URL)
  address.password = 'wrong'
  await assert.rejects(amqp.connect(address.toString()), /403|ACCESS.REFUSED/)
})

test('a frame size of 4096 is negotiated', opts, async () => {
  const connection = await amqp.connect(`${URL}?frameMax=4096&heartbeat=5&channelMax=10`)
  const channel = await connection.createChannel()
  const queue = await declare(channel)
  const body = Buffer.alloc(100_000, 'x')
  channel.sendToQueue(queue, body)
  const [message] = await collect(channel, queue, 1, { noAck: true })
  assert.ok(message.content.equals(body))
  await connection.close()
})

test('a consumer is told with null when its queue is deleted', opts, withConnection(async (connection) => {
  const [channel, other] = [await connection.createChannel(), await connection.createChannel()]
  const { queue } = await channel.assertQueue(unique('queue'))
  let tell
  const told = new Promise((resolve) => { tell = resolve })
  await channel.consume(queue, tell)
  await other.deleteQueue(queue)
  assert.equal(await told, null)
}))

test('cancel, purge, delete answer with their numbers', opts, withChannel(async (channel) => {
  const { queue } = await channel.assertQueue(unique('queue'))
  channel.sendToQueue(queue, Buffer.from('1'))
  channel.sendToQueue(queue, Buffer.from('2'))
  const got = new Promise((resolve) => channel.prefetch(1).then(() => channel.consume(queue, resolve, { consumerTag: 'mine' })))
  const message = await got
  assert.equal((await channel.cancel('mine')).consumerTag, 'mine')
  assert.equal((await channel.purgeQueue(queue)).messageCount, 1)
  channel.nack(message)
  assert.equal((await channel.deleteQueue(queue)).messageCount, 1)
}))

test('recover delivers again', opts, withChannel(async (channel) => {
  const queue = await declare(channel)
  channel.sendToQueue(queue, Buffer.from('again'))
  assert.equal((await channel.get(queue)).fields.redelivered, false)
  await channel.recover()
  const message = await channel.get(queue)
  assert.equal(message.fields.redelivered, true)
}))

test('a dead message tells its history', opts, withChannel(async (channel) => {
  const dead = await declare(channel)
  const queue = await declare(channel, { deadLetterExchange: '', deadLetterRoutingKey: dead, messageTtl: 20 })
  channel.sendToQueue(queue, Buffer.from('body'))
  const [message] = await collect(channel, dead, 1)
  const [death] = message.properties.headers['x-death']
  assert.deepEqual([death.queue, death.reason, death.count, death['routing-keys']], [queue, 'expired', 1, [queue]])
}))

test('channels come and go', opts, withConnection(async (connection) => {
  for (let turn = 0; turn < 5; turn++) {
    const channels = await Promise.all(Array.from({ length: 100 }, () => connection.createChannel()))
    await Promise.all(channels.map((channel) => channel.close()))
  }
}))
