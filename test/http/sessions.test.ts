import {once} from 'node:events'
import {createServer, type Server} from 'node:http'
import type {AddressInfo} from 'node:net'
import express from 'express'
import {Client, Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import {makeSchema} from '../../src/database/schema.ts'
import type {UserId} from '../../src/domain/user.ts'
import {cookieFlags} from '../../src/edge/cookies.ts'
import {openSessions, SESSIONS_DDL} from '../../src/edge/sessions.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {connect, type Person, signUp, startServer, type TestServer, type Visitor, visit} from '../support/server.ts'

const DAY_MS = 86_400_000

let server: TestServer
let other: TestServer
let database: Client
let ann: Person
beforeAll(async () => {
  server = await startServer({}, {shared: true})
  other = await startServer(server.env, {shared: true})
  database = new Client({connectionString: server.databaseUrl})
  await database.connect()
  ann = await signUp(server)
})
afterAll(async () => {
  await database.end()
  await other.stop()
  await server.stop()
})

const logIn = async (url = server.url, cookies?: Map<string, string>): Promise<Visitor> => {
  const visitor = visit(url, cookies)
  expect((await visitor.post('/api/email/login', {email: ann.email, password: 'secret one'})).status).toBe(200)
  return visitor
}
const statusOfMe = async (visitor: Visitor) => (await visitor.get('/api/me')).status
const sidOf = ({cookies}: Visitor) => decodeURIComponent(cookies.get('sid')!).slice(2).split('.')[0]!
const rowOf = async (visitor: Visitor) =>
  (await database.query('SELECT xmin, sess, expire FROM state.sessions WHERE sid = $1', [sidOf(visitor)])).rows[0]
const setCookie = (headers: Headers, name: string): string[] =>
  (headers.getSetCookie().find((line) => line.startsWith(`${name}=`)) ?? '').split('; ')

describe('a login', () => {
  it('gives a new session id, and ends the session it came with', async () => {
    const first = await logIn()
    const before = new Map(first.cookies)
    const again = await logIn(server.url, new Map(before))
    expect(again.cookies.get('sid')).not.toBe(before.get('sid'))
    expect(await statusOfMe(again)).toBe(200)
    expect(await statusOfMe(visit(server.url, before))).toBe(401)
  })

  it.each(['made-up', 's%3Amade-up.c2lnbmF0dXJl', ''])('makes nothing of the planted id %j', async (planted) => {
    const visitor = await logIn(server.url, new Map([['sid', planted]]))
    expect(visitor.cookies.get('sid')).toMatch(/^s%3A/)
    expect(sidOf(visitor)).not.toContain('made-up')
    expect(await statusOfMe(visitor)).toBe(200)
  })

  it('ends in a session that holds neither password nor address', async () => {
    const {sess} = await rowOf(await logIn())
    expect(Object.keys(sess).sort()).toEqual(['cookie', 'day', 'signedInAt', 'userId'])
  })
})

describe('the session cookie', () => {
  const flagsWith = async (env: NodeJS.ProcessEnv, headers: Record<string, string> = {}) => {
    const configured = await startServer({...env, DATABASE_URL: server.databaseUrl, MASTER_KEY: server.env.MASTER_KEY})
    const visitor = visit(configured.url)
    const login = await visitor.post('/api/email/login', {email: ann.email, password: 'secret one'}, headers)
    const flags = ['sid', 'log_position'].map((name) =>
      setCookie(login.headers, name)
        .slice(1)
        .filter((flag) => !flag.startsWith('Expires='))
        .sort(),
    )
    expect(flags[0]).toEqual(flags[1])
    return {flags: flags[0], visitor}
  }

  it('is HttpOnly and SameSite=Lax', async () => {
    expect((await flagsWith({})).flags).toEqual(['HttpOnly', 'Path=/', 'SameSite=Lax'])
  })

  it('is Secure under https, whatever a proxy says of itself', async () => {
    const {flags, visitor} = await flagsWith({BASE_URL: 'https://community.example.org'})
    expect(flags).toEqual(['HttpOnly', 'Path=/', 'SameSite=Lax', 'Secure'])
    const again = await visitor.get('/api/me', {'x-forwarded-proto': 'http'})
    expect(setCookie(again.headers, 'sid')).toContain('Secure')
    const out = await visitor.get('/api/logout')
    expect(setCookie(out.headers, 'sid')).toContain('Secure')
  })

  it('reaches pages of the origins in CORS_ORIGINS, under https', async () => {
    const origin = 'https://elsewhere.example.org'
    const {flags} = await flagsWith({BASE_URL: 'https://community.example.org', CORS_ORIGINS: origin}, {origin})
    expect(flags).toEqual(['HttpOnly', 'Partitioned', 'Path=/', 'SameSite=None', 'Secure'])
  })

  it('stays SameSite=Lax with CORS_ORIGINS under http, where None is nothing to a browser', async () => {
    const {flags} = await flagsWith({CORS_ORIGINS: 'https://elsewhere.example.org'})
    expect(flags).toEqual(['HttpOnly', 'Path=/', 'SameSite=Lax'])
  })

  it('lasts 30 days from each request on', async () => {
    const visitor = await logIn()
    const me = await visitor.get('/api/me')
    const expires = setCookie(me.headers, 'sid').find((flag) => flag.startsWith('Expires='))!
    const days = (Date.parse(expires.slice(8)) - Date.now()) / DAY_MS
    expect(days).toBeGreaterThan(29.99)
    expect(days).toBeLessThanOrEqual(30)
  })
})

describe('a session in the database', () => {
  it('is not written by requests', async () => {
    const visitor = await logIn()
    const before = await rowOf(visitor)
    for (let n = 0; n < 5; n++) expect(await statusOfMe(visitor)).toBe(200)
    await visitor.post('/api/posts', {title: 'A post'})
    expect(await rowOf(visitor)).toEqual(before)
  })

  it('is prolonged once a day, to 30 days', async () => {
    const visitor = await logIn()
    await database.query(
      `UPDATE state.sessions SET expire = now() + interval '1 hour',
         sess = jsonb_set(sess::jsonb, '{day}', to_jsonb((sess->>'day')::int - 29))::json WHERE sid = $1`,
      [sidOf(visitor)],
    )
    expect(await statusOfMe(visitor)).toBe(200)
    const {xmin, expire} = await rowOf(visitor)
    expect((expire.getTime() - Date.now()) / DAY_MS).toBeGreaterThan(29.99)
    expect(await statusOfMe(visitor)).toBe(200)
    expect((await rowOf(visitor)).xmin).toBe(xmin)
  })

  it('is worth nothing once it is out of time', async () => {
    const visitor = await logIn()
    await database.query(`UPDATE state.sessions SET expire = now() - interval '1 second' WHERE sid = $1`, [
      sidOf(visitor),
    ])
    expect(await statusOfMe(visitor)).toBe(401)
  })

  it('is not made for a visitor who does not sign in', async () => {
    const count = async () => (await database.query('SELECT count(*) FROM state.sessions')).rows[0].count
    const before = await count()
    const visitor = visit(server.url)
    for (const path of ['/api/posts', '/api/me', '/api/logout']) await visitor.get(path)
    await visitor.post('/api/email/login', {email: ann.email, password: 'wrong one'})
    expect(visitor.cookies.get('sid')).toBeUndefined()
    expect(await count()).toBe(before)
  })
})

describe('logOut', () => {
  it('ends the session on every node, takes the cookie back and leads to the front page', async () => {
    const visitor = await logIn()
    const elsewhere = visit(other.url, new Map(visitor.cookies))
    const kept = visit(server.url, new Map(visitor.cookies))
    expect(await statusOfMe(elsewhere)).toBe(200)
    const out = await visitor.get('/api/logout')
    expect([out.status, out.headers.get('location')]).toEqual([302, '/'])
    expect(visitor.cookies.has('sid')).toBe(false)
    expect([await statusOfMe(elsewhere), await statusOfMe(kept)]).toEqual([401, 401])
  })

  it('leaves the other sessions of the person alone', async () => {
    const [one, two] = [await logIn(), await logIn(other.url)]
    await one.get('/api/logout')
    expect(await statusOfMe(two)).toBe(200)
  })

  it('closes the sockets of that session, on every node, and no other', async () => {
    const [one, two] = [await logIn(), await logIn()]
    const here = await connect(one)
    const there = await connect({url: other.url, cookies: one.cookies})
    const stays = await connect(two)
    await one.get('/api/logout')
    await eventually(() => here.disconnected && there.disconnected)
    expect(stays.connected).toBe(true)
  })

  it('is for everybody, also without a session', async () => {
    const out = await visit(server.url).get('/api/logout')
    expect([out.status, out.headers.get('location')]).toEqual([302, '/'])
  })

  it('is not done by HEAD', async () => {
    const visitor = await logIn()
    await visitor.request('HEAD', '/api/logout')
    expect(await statusOfMe(visitor)).toBe(200)
  })
})

describe('openSessions', () => {
  it('does not bring a session back that ended while a request was under way', async () => {
    const pool = new Pool({connectionString: await createDatabase()})
    await makeSchema(pool, [SESSIONS_DDL])
    const sessions = openSessions({
      pool,
      secret: 'a secret for tests',
      cookie: cookieFlags({baseUrl: 'http://localhost', corsOrigins: []}),
    })
    const userId = 'email_ann' as UserId
    let goOn = () => {}
    let arrived = false
    const app = express().use(sessions.load)
    app.get('/sign-in', async (req, res) => {
      await sessions.signIn(req, userId)
      res.end()
    })
    app.get('/slow', async (req, res) => {
      req.session.attempts = ['email_other' as UserId]
      await new Promise<void>((resolve) => {
        goOn = resolve
        arrived = true
      })
      res.end()
    })
    app.get('/who', (req, res) => void res.end(String(req.session.userId)))
    const http = await listening(createServer(app))
    onTestFinished(async () => {
      http.close()
      sessions.stop()
      await pool.end()
    })
    const visitor = visit(`http://127.0.0.1:${(http.address() as AddressInfo).port}`)
    await visitor.get('/sign-in')
    expect((await visitor.get('/who')).text).toBe(userId)
    const slow = visitor.get('/slow')
    await eventually(() => arrived)
    await sessions.signOutEverywhere(userId)
    goOn()
    expect((await slow).status).toBe(200)
    expect((await visitor.get('/who')).text).toBe('undefined')
  })
})

const listening = async (http: Server): Promise<Server> => {
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return http
}
