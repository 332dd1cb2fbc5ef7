import {randomUUID} from 'node:crypto'
import {EventStoreDBClient, jsonEvent, NO_STREAM, START, streamNameFilter} from '@eventstore/db-client'
import {openEventStoreDbLog} from '../../src/log/eventStoreDbLog.ts'

/**
 * Appends by so many writers, one event each to a stream of its own, or a catch-up subscription over so many events: by
 * the adapter, or by the bare client. Says how many a second.
 */
const {side, what, url, prefix, writers, seconds, events} = JSON.parse(process.argv[2]!) as {
  side: 'adapter' | 'client'
  what: 'append' | 'catchUp' | 'fill'
  url: string
  prefix: string
  writers: number
  seconds: number
  events: number
}
const data = {text: 'x'.repeat(150)}
const metadata = {time: 'now'}
const log = await openEventStoreDbLog({url, prefix})
const client = EventStoreDBClient.connectionString(url)
// With credentials of its own a call takes the plain path, which is the adapter's.
const credentials = {username: 'admin', password: 'changeit'}
const rate = (count: number, began: number) => (count * 1_000) / (performance.now() - began)

const appendBy = {
  adapter: async (stream: string, revision: number) => {
    const record = {id: randomUUID(), type: 'Measured', data, metadata}
    const result = await log.append(stream, [record], revision === -1 ? 'none' : revision)
    if (!result.ok) throw new Error(result.reason)
  },
  client: async (stream: string, revision: number) => {
    const event = jsonEvent({id: randomUUID(), type: 'Measured', data, metadata})
    const expectedRevision = revision === -1 ? NO_STREAM : BigInt(revision)
    await client.appendToStream(prefix + stream, event, {expectedRevision, credentials})
  },
}[side]

const append = async (ms: number): Promise<number> => {
  const began = performance.now()
  let count = 0
  await Promise.all(
    Array.from({length: writers}, async () => {
      const stream = `measured-${randomUUID()}`
      for (let revision = -1; performance.now() - began < ms; revision++) {
        await appendBy(stream, revision)
        count++
      }
    }),
  )
  return rate(count, began)
}

const catchUpBy = {
  adapter: async () => {
    const stop = new AbortController()
    let seen = 0
    for await (const records of log.subscribe({after: null, signal: stop.signal})) {
      seen += records.length
      if (seen >= events) stop.abort()
    }
  },
  client: async () => {
    const filter = streamNameFilter({prefixes: [prefix]})
    const subscription = client.subscribeToAll({fromPosition: START, filter, credentials})
    let seen = 0
    for await (const _ of subscription) if (++seen >= events) break
    await subscription.unsubscribe()
  },
}[side]

const catchUp = async (): Promise<number> => {
  const began = performance.now()
  await catchUpBy()
  return rate(events, began)
}

const fill = async (): Promise<number> => {
  const began = performance.now()
  for (let left = events; left > 0; left -= 500) {
    const records = Array.from({length: Math.min(left, 500)}, () => ({
      id: randomUUID(),
      type: 'Measured',
      data,
      metadata,
    }))
    const result = await log.append(`measured-${randomUUID()}`, records, 'none')
    if (!result.ok) throw new Error(result.reason)
  }
  return rate(events, began)
}

if (what === 'append') await append(seconds * 200)
const perSecond = what === 'append' ? await append(seconds * 1_000) : what === 'fill' ? await fill() : await catchUp()
process.stdout.write(JSON.stringify({perSecond}), () => process.exit(0))
