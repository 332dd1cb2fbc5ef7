import {describe, expect, it} from 'vitest'
import {type EventLog, LogUnavailable} from '../../src/log/eventLog.ts'
import type {TailEvent} from '../../src/log/tail.ts'
import {openMetrics} from '../../src/metrics/metrics.ts'
import {eventually} from '../support/eventually.ts'
import {connect, signUp, startServer, visit} from '../support/server.ts'

/** The value of each sample by its name and labels, as Prometheus reads it. */
const samplesOf = (text: string): Map<string, number> =>
  new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )

const scrape = async (url: string) => {
  const {status, text, headers} = await visit(url).get('/metrics')
  expect([status, headers.get('content-type')]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8'])
  return {text, samples: samplesOf(text)}
}

describe('/metrics', () => {
  it('tells of requests by pattern, of the log, the read tables, sockets, mails and the process', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby'})).body
    const sockets = [await connect(ann), await connect(ann)]
    for (const socket of sockets) await socket.ask('join_room', room.id)
    await sockets[0]!.ask('send_message', {roomId: room.id, content: 'hi'})
    for (const socket of sockets) await eventually(() => socket.messages().length === 1)
    await ann.get(`/api/rooms/${room.id}`)
    await ann.get('/api/rooms/r-nothing')

    const samples = await eventually(async () => {
      const {samples} = await scrape(server.url)
      const rooms = 'http_request_duration_seconds_count{route="/api/rooms/:roomId",method="GET"'
      const isCounted = samples.get(`${rooms},status="404"}`) === 1 && samples.get(`${rooms},status="200"}`) === 1
      return isCounted ? samples : null
    })
    expect(samples.get('community_sockets_connected')).toBe(2)
    expect(samples.get('community_messages_delivered_total')).toBe(2)
    expect(samples.get('community_mails_queued')).toBeLessThanOrEqual(1)
    expect(samples.get('community_append_duration_seconds_count{outcome="ok"}')).toBeGreaterThanOrEqual(4)
    expect(samples.get('community_log_position')).toBeGreaterThan(4)
    for (const projection of ['users', 'posts', 'rooms', 'messages']) {
      expect(samples.get(`community_projection_live{projection="${projection}"}`)).toBe(1)
      expect(samples.get(`community_projection_faulted{projection="${projection}"}`)).toBe(0)
      expect(samples.get(`community_projection_lag_seconds{projection="${projection}"}`)).toBeLessThan(5)
    }
    expect(samples.get('nodejs_eventloop_lag_p99_seconds')).toBeGreaterThanOrEqual(0)
    expect(samples.get('process_resident_memory_bytes')).toBeGreaterThan(1e6)
  })

  it('has one label for all unknown paths and methods, and nothing about anybody', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const {post} = (await ann.post('/api/posts', {title: 'Hello'})).body
    const stranger = visit(server.url)
    for (let n = 0; n < 20; n++) await stranger.get(`/api/unknown/${n}?token=secret${n}`)
    for (const method of ['PROPFIND', 'MKCOL', 'SEARCH']) await stranger.request(method, '/api/posts')
    await stranger.get(`/api/posts/${post.id}`)
    await stranger.get('/')

    const {text, samples} = await eventually(async () => {
      const found = await scrape(server.url)
      const count = found.samples.get('http_request_duration_seconds_count{route="none",method="GET",status="404"}')
      return count === 20 && found.text.includes('route="page"') ? found : null
    })
    expect(samples.get('http_request_duration_seconds_count{route="none",method="other",status="404"}')).toBe(3)
    for (const word of ['unknown', 'secret', post.id, ann.id, ann.email, ann.username, server.dataDir]) {
      expect(text).not.toContain(word)
    }
    const routes = new Set([...samples.keys()].map((name) => /route="([^"]*)"/.exec(name)?.[1]))
    for (const route of routes) expect(route ?? 'none').toMatch(/^(none|page|\/[\w/.:*-]+)$/)
  })

  it('counts each server of a process by itself', async () => {
    const [busy, idle] = [await startServer(), await startServer()]
    for (let n = 0; n < 3; n++) await visit(busy.url).get('/healthz')
    const alive = 'http_request_duration_seconds_count{route="/healthz",method="GET",status="200"}'
    await eventually(async () => (await scrape(busy.url)).samples.get(alive) === 3)
    expect((await scrape(idle.url)).samples.get(alive)).toBe(undefined)
  })

  it('answers while the database is away', async () => {
    const metrics = openMetrics()
    metrics.read({
      position: () => 3n,
      projections: () => [],
      sockets: () => 0,
      mailsQueued: () => Promise.reject(new Error('away')),
    })
    const samples = samplesOf(await metrics.render())
    expect(samples.get('community_log_position')).toBe(3)
    expect(samples.get('community_mails_queued')).toBeNaN()
  })
})

describe('openMetrics', () => {
  const event = (position: bigint) => ({position}) as TailEvent

  it('tells how far a read table is behind, in positions and in time', async () => {
    const metrics = openMetrics()
    let table: bigint | null = 1n
    metrics.read({
      position: () => 4n,
      projections: () => [{name: 'posts', position: table, live: true, fault: 'it can not'}],
      sockets: () => 0,
      mailsQueued: async () => 0,
    })
    for (const position of [1n, 2n, 3n, 4n]) metrics.observe(event(position))
    const behind = samplesOf(await metrics.render())
    expect(behind.get('community_projection_lag_positions{projection="posts"}')).toBe(3)
    expect(behind.get('community_projection_lag_seconds{projection="posts"}')).toBeGreaterThanOrEqual(0)
    expect(behind.get('community_projection_lag_seconds{projection="posts"}')).toBeLessThan(10)
    expect(behind.get('community_projection_faulted{projection="posts",fault="it can not"}')).toBe(1)
    table = 4n
    const there = samplesOf(await metrics.render())
    expect(there.get('community_projection_lag_positions{projection="posts"}')).toBe(0)
    expect(there.get('community_projection_lag_seconds{projection="posts"}')).toBe(0)
  })

  it('tells appends by how they ended', async () => {
    const metrics = openMetrics()
    const ends = [
      async () => ({ok: true as const, revision: 0, position: 1n}),
      async () => ({ok: false as const, reason: 'conflict' as const}),
      async () => {
        throw new LogUnavailable('away')
      },
    ]
    const log = metrics.timed({adapter: 'postgres', append: () => ends.shift()!()} as unknown as EventLog)
    expect(log.adapter).toBe('postgres')
    await log.append('x', [], 'none')
    await log.append('x', [], 'none')
    await expect(log.append('x', [], 'none')).rejects.toThrow(LogUnavailable)
    const samples = samplesOf(await metrics.render())
    for (const outcome of ['ok', 'conflict', 'failed']) {
      expect(samples.get(`community_append_duration_seconds_count{outcome="${outcome}"}`)).toBe(1)
    }
  })
})
