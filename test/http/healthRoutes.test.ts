import {Client} from 'pg'
import {describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {signUp, startServer, visit} from '../support/server.ts'
import {stopFeeding} from '../support/standstill.ts'

describe('isAlive', () => {
  it('says that the process lives', async () => {
    const server = await startServer()
    const reply = await visit(server.url).get('/healthz')
    expect([reply.status, reply.body]).toEqual([200, {ok: true}])
  })
})

describe('isReady', () => {
  it('says how far log and read tables are', async () => {
    const server = await startServer()
    const written = await (await signUp(server)).post('/api/posts', {title: 'x'})
    const position = written.headers.get('x-log-position')!
    const ready = await eventually(async () => {
      const reply = await visit(server.url).get('/readyz')
      return reply.body.projections.posts.position === position ? reply : null
    })
    expect(ready.status).toBe(200)
    expect(ready.body).toMatchObject({
      ok: true,
      log: {ok: true, position},
      database: {ok: true},
      projections: {users: {ok: true, state: 'live'}, posts: {ok: true, state: 'live', position}, messages: {ok: true}},
    })
  })

  it('is 503 while a table is built, as are the routes that read it, and only those', async () => {
    const server = await startServer()
    const ann = await signUp(server)
    const {id} = (await ann.post('/api/rooms', {name: 'x'})).body.room
    const goOn = await stopFeeding(server.databaseUrl)
    const client = new Client({connectionString: server.databaseUrl})
    await client.connect()
    /** Marks the table as not built, and keeps every node from saying that it is, until the transaction ends. */
    const build = (table: string) =>
      eventually(async () => {
        await client.query('COMMIT')
        await client.query(`UPDATE read.generations SET state = 'building' WHERE view LIKE $1`, [`read.${table}_v%`])
        await client.query(`SELECT pg_notify('read', '{}')`)
        await client.query('BEGIN')
        const {rows} = await client.query('SELECT view, state FROM read.generations FOR UPDATE')
        return rows.every(({view, state}) => state === 'building' || !view.startsWith(`read.${table}_v`))
      })
    await build('posts')
    const building = await eventually(async () => {
      const reply = await ann.get('/readyz')
      return reply.status === 503 ? reply : null
    })
    expect(Number(building.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(building.body).toMatchObject({
      ok: false,
      log: {ok: true},
      database: {ok: true},
      projections: {posts: {ok: false, state: 'building'}, rooms: {ok: true, state: 'live'}},
    })
    for (const path of ['/api/posts', '/api/posts/u-x']) {
      const reply = await ann.get(path)
      expect([reply.status, reply.body.code]).toEqual([503, 'UNAVAILABLE'])
      expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0)
    }
    for (const path of ['/api/me', '/api/rooms', `/api/rooms/${id}`]) expect((await ann.get(path)).status).toBe(200)
    await build('users')
    await eventually(async () => (await ann.get('/api/rooms')).body.code === 'UNAVAILABLE', {
      what: 'nobody to be told to sign in because people are counted anew',
    })
    await client.query('COMMIT')
    await client.query(`UPDATE read.generations SET state = 'live'`)
    await client.query(`SELECT pg_notify('read', '{}')`)
    await client.end()
    await goOn()
    await eventually(async () => (await ann.get('/readyz')).status === 200)
    expect((await ann.get('/api/posts')).status).toBe(200)
    expect((await ann.get('/api/me')).status).toBe(200)
  })
})
