import {randomBytes} from 'node:crypto'
import {Client} from 'pg'
import {describe, expect, it} from 'vitest'
import {community} from '../support/commandLine.ts'
import {eventually} from '../support/eventually.ts'
import {startOauthPeer} from '../support/oauthPeer.ts'
import {signUp, startServer, type TestServer, type Visitor, visit} from '../support/server.ts'
import {startTwoNodes} from '../support/twoNodes.ts'

const ask = async <T>({databaseUrl}: TestServer, query: (database: Client) => Promise<T>): Promise<T> => {
  const client = new Client({connectionString: databaseUrl})
  await client.connect()
  return query(client).finally(() => client.end())
}
/** Changes what the tables show behind the server's back, as no event can. */
const tamper = (server: TestServer, name: string) =>
  ask(server, async (database) => {
    await database.query('UPDATE read.users_v1 SET username = $1', [name])
    await database.query('UPDATE read.posts_v1 SET title = $1', [name])
  })
const nameOf = async (who: Visitor): Promise<string> => (await who.get('/api/me')).body.user?.username
const titleOf = async (who: Visitor): Promise<string> => (await who.get('/api/posts')).body[0]?.title

describe('what is remembered of a table', () => {
  it('is given while nothing changes the table, and not once something may have', async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    await ann.post('/api/posts', {title: 'Ann'})
    expect([await nameOf(ann), await titleOf(ann)]).toEqual(['Ann', 'Ann'])
    await tamper(server, 'tampered')
    await ann.post('/api/rooms', {name: 'Kitchen'})
    expect([await nameOf(ann), await titleOf(ann)]).toEqual(['Ann', 'Ann'])
    // That somebody registers changes the table of people, but not Ann.
    await signUp(server)
    expect([await nameOf(ann), await titleOf(ann)]).toEqual(['Ann', 'Ann'])
    await ann.post('/api/email/forgot', {email: ann.email})
    const [link] = (await server.links(ann.email)).slice(-1)
    await visit(server.url).post('/api/email/reset', {
      token: new URL(link!).searchParams.get('reset'),
      password: 'secret two',
    })
    const again = visit(server.url)
    await again.post('/api/email/login', {email: ann.email, password: 'secret two'})
    expect(await nameOf(again)).toBe('tampered')
  })

  it('is not given while the database is not heard: what changes then could not be known', async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    await ann.post('/api/posts', {title: 'Ann'})
    expect([await nameOf(ann), await titleOf(ann)]).toEqual(['Ann', 'Ann'])
    await tamper(server, 'tampered')
    expect([await nameOf(ann), await titleOf(ann)]).toEqual(['Ann', 'Ann'])
    const deafen = () =>
      ask(server, (database) =>
        database.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE application_name = 'community read table listener' AND datname = current_database()`,
        ),
      )
    for (const shown of [nameOf, titleOf]) {
      await eventually(async () => {
        await deafen()
        return (await shown(ann)) === 'tampered'
      })
    }
  })

  it('is of the table that is shown: a rebuild and a rollback change it', {timeout: 60_000}, async () => {
    const server = await startServer()
    const ann = await signUp(server, {username: 'Ann'})
    await tamper(server, 'tampered')
    const operate = async (...args: string[]) => {
      const {status, stderr} = await community(server.env, 'projections', ...args)
      expect(status, stderr).toBe(0)
    }
    await operate('rebuild', 'users')
    expect(await nameOf(ann)).toBe('Ann')
    await operate('rollback', 'users')
    expect(await nameOf(ann)).toBe('tampered')
  })
})

describe('a person', () => {
  it('has a new name at once, on any node, and is gone at once', async () => {
    const peer = await startOauthPeer()
    try {
      const oauth = {
        DISCORD_CLIENT_ID: peer.clientId,
        DISCORD_CLIENT_SECRET: peer.clientSecret,
        DISCORD_ORIGIN: peer.url,
      }
      const [here, elsewhere] = await startTwoNodes(oauth)
      const id = `8${randomBytes(8).readUInt32BE()}0000000000`.padEnd(18, '0').slice(0, 18)
      const signIn = async (): Promise<Visitor> => {
        const browser = visit(here.url)
        const consent = (await browser.get('/api/login')).headers.get('location')!
        const back = new URL((await fetch(consent, {redirect: 'manual'})).headers.get('location')!)
        await browser.get(back.pathname + back.search)
        return browser
      }
      let browser: Visitor | null = null
      for (const username of ['Nelly', 'Nell', 'Ellen']) {
        peer.profile = {id, username}
        const newer = await signIn()
        for (const one of [browser ?? newer, newer, visit(elsewhere.url, newer.cookies)])
          expect(await nameOf(one)).toBe(username)
        browser = newer
      }
      expect((await browser!.request('DELETE', '/api/me', {})).status).toBe(200)
      expect((await browser!.get('/api/me')).status).toBe(401)
      expect((await visit(elsewhere.url, browser!.cookies).get('/api/me')).status).toBe(401)
    } finally {
      await peer.stop()
    }
  })
})
