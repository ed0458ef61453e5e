// What the amqplib suites share: where the broker is, fresh names, waiting with an end.
import { once } from 'node:events'
import amqp from 'amqplib'

export const URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f'

let number = 0

/** A name nobody else uses. */
export const unique = (kind) => `${kind}-${process.pid}-${Date.now()}-${++number}`

/** Runs `story` with a connection that is closed afterwards, whatever happens. */
export const withConnection = (story) => async () => {
  const connection = await amqp.connect(URL)
  connection.on('error', () => {})
  try {
    await story(connection)
  } finally {
    await connection.close().catch(() => {})
  }
}

/** The same with a channel; errors of the channel are kept for those who ask. */
export const withChannel = (story) =>
  withConnection(async (connection) => {
    const channel = await connection.createChannel()
    channel.on('error', () => {})
    await story(channel, connection)
  })

/** The first `count` deliveries of a consumer. */
export const collect = (channel, queue, count, options) =>
  new Promise((resolve, reject) => {
    const messages = []
    channel
      .consume(queue, (message) => {
        messages.push(message)
        if (messages.length === count) resolve(messages)
      }, options)
      .catch(reject)
  })

/** Waits for one event. */
export const event = async (emitter, name, milliseconds = 10_000) =>
  (await once(emitter, name, { signal: AbortSignal.timeout(milliseconds) }))[0]

/** An exclusive queue. */
export const declare = async (channel, options = {}) =>
  (await channel.assertQueue('', { exclusive: true, ...options })).queue
