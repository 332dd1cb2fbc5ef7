import {Client} from 'pg'
import {afterAll, beforeAll, beforeEach, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {type OauthPeer, startOauthPeer} from '../support/oauthPeer.ts'
import {type Reply, signUp, startServer, type TestServer, type Visitor, visit} from '../support/server.ts'

let peer: OauthPeer
let server: TestServer
let database: Client

beforeAll(async () => {
  peer = await startOauthPeer()
  const credentials = (name: string) => ({
    [`${name}_CLIENT_ID`]: peer.clientId,
    [`${name}_CLIENT_SECRET`]: peer.clientSecret,
    [`${name}_ORIGIN`]: peer.url,
  })
  server = await startServer(
    {...credentials('DISCORD'), ...credentials('REDDIT'), REDDIT_API_ORIGIN: peer.url},
    {shared: true},
  )
  database = new Client({connectionString: server.databaseUrl})
  await database.connect()
})
beforeEach(() => {
  peer.instead = () => false
})
afterAll(async () => {
  await database.end()
  await server.stop()
  await peer.stop()
})

const browser = (): Visitor => visit(server.url)

/** The path to which the provider sends the browser back. */
const consent = async (visitor: Visitor, login: string): Promise<string> => {
  const begun = await visitor.get(login)
  expect(begun.status).toBe(302)
  const page = new URL(begun.headers.get('location')!)
  expect(page.origin).toBe(peer.url)
  const asked = await fetch(page, {redirect: 'manual'})
  const back = new URL(asked.headers.get('location')!)
  return back.pathname + back.search
}
const endOf = (reply: Reply): [number, string | null] => [reply.status, reply.headers.get('location')]
const failure = (reason: string) => [302, `/?login=failed&reason=${reason}`]
const success = [302, '/?login=ok']
const usersLike = async (prefix: string): Promise<number> =>
  (await database.query(`SELECT FROM read.users_v1 WHERE verified AND user_id LIKE '${prefix}%'`)).rows.length

let subjects = 0
const nextSubject = () => `8035111022467${String(++subjects).padStart(4, '0')}`

describe.each([
  {provider: 'discord', login: '/api/login', callback: '/api/callback', field: 'username'},
  {provider: 'reddit', login: '/api/reddit/login', callback: '/api/reddit/callback', field: 'name'},
])('a login with $provider', ({provider, login, callback, field}) => {
  let subject: string
  const is = (name: string, more: object = {}) => {
    peer.profile = {id: subject.slice(-13), ...(provider === 'discord' ? {id: subject} : {}), [field]: name, ...more}
  }
  const signIn = async (visitor: Visitor): Promise<Reply> => visitor.get(await consent(visitor, login))

  beforeEach(() => {
    subject = nextSubject()
    is('Nelly')
  })

  it('signs in, under a new session id, a person whose id says nothing', async () => {
    const visitor = browser()
    const back = await consent(visitor, login)
    expect(back).toMatch(new RegExp(`^${callback}\\?`))
    const before = visitor.cookies.get('sid')
    expect(before).toBeDefined()
    expect(endOf(await visitor.get(back))).toEqual(success)
    expect(visitor.cookies.get('sid')).not.toBe(before)
    expect((await visit(server.url, new Map([['sid', before!]])).get('/api/me')).status).toBe(401)
    const {user} = (await visitor.get('/api/me')).body
    expect(user).toEqual({
      id: expect.stringMatching(new RegExp(`^${provider}_[a-z2-7]{26}$`)),
      username: 'Nelly',
      provider,
      email: null,
    })
    expect(user.id).not.toContain(subject)
  })

  it('knows the person again, and takes over a changed name', async () => {
    const [first, second] = [browser(), browser()]
    await signIn(first)
    const {user} = (await first.get('/api/me')).body
    await first.post('/api/posts', {title: 'As Nelly'})
    is('Nell')
    expect(endOf(await signIn(second))).toEqual(success)
    for (const visitor of [first, second]) {
      expect((await visitor.get('/api/me')).body.user).toEqual({...user, username: 'Nell'})
    }
    await second.post('/api/posts', {title: 'As Nell'})
    const posts = (await first.get('/api/posts')).body.filter(
      ({author_id}: {author_id: string}) => author_id === user.id,
    )
    expect(posts.map(({title, author_name}: {title: string; author_name: string}) => [title, author_name])).toEqual([
      ['As Nell', 'Nell'],
      ['As Nelly', 'Nelly'],
    ])
  })

  it.each([
    ['Nelly '.repeat(10), /^(Nelly ){8}Ne$/],
    ['', /^member-[a-z2-7]{5}$/],
    ['  \t ', /^member-[a-z2-7]{5}$/],
    ['a\0b', /^member-[a-z2-7]{5}$/],
  ])('makes of the name %j one within our limits, and keeps it', async (name, expected) => {
    is(name)
    const names = []
    for (const visitor of [browser(), browser()]) {
      expect(endOf(await signIn(visitor))).toEqual(success)
      names.push((await visitor.get('/api/me')).body.user.username)
    }
    expect(names[0]).toMatch(expected)
    expect(names[1]).toBe(names[0])
  })

  it('makes one person of two first logins at once', async () => {
    const before = await usersLike(provider)
    const visitors = Array.from({length: 4}, browser)
    const backs = await Promise.all(visitors.map((visitor) => consent(visitor, login)))
    const replies = await Promise.all(visitors.map((visitor, n) => visitor.get(backs[n]!)))
    for (const reply of replies) expect(endOf(reply)).toEqual(success)
    const ids = await Promise.all(visitors.map(async (visitor) => (await visitor.get('/api/me')).body.user.id))
    expect(new Set(ids).size).toBe(1)
    expect(await usersLike(provider)).toBe(before + 1)
  })

  it.each([
    ['another', (back: string) => back.replace(/state=[^&]+/, 'state=0123456789')],
    ['an empty', (back: string) => back.replace(/state=[^&]+/, 'state=')],
    ['no', (back: string) => back.replace(/&?state=[^&]+/, '')],
    ['a doubled', (back: string) => `${back}&state=1`],
  ])('refuses %s state, and asks the provider nothing', async (_, change) => {
    const visitor = browser()
    const back = await consent(visitor, login)
    peer.asked.length = 0
    expect(endOf(await visitor.get(change(back)))).toEqual(failure('state'))
    expect(peer.asked).toEqual([])
    expect((await visitor.get('/api/me')).status).toBe(401)
  })

  it('refuses the state of another browser, or of none', async () => {
    const [mine, other] = [browser(), browser()]
    const back = await consent(mine, login)
    await consent(other, login)
    expect(endOf(await other.get(back))).toEqual(failure('state'))
    expect(endOf(await browser().get(back))).toEqual(failure('state'))
    expect(endOf(await mine.get(back))).toEqual(success)
  })

  it('takes a state once, also of two at once', async () => {
    const visitor = browser()
    const back = await consent(visitor, login)
    const cookies = new Map(visitor.cookies)
    peer.asked.length = 0
    const replies = await Promise.all([1, 2, 3].map(() => visit(server.url, new Map(cookies)).get(back)))
    expect(replies.map(endOf).sort()).toEqual([failure('state'), failure('state'), success].sort())
    expect(peer.asked.filter((asked) => asked.startsWith('POST'))).toHaveLength(1)
    expect(endOf(await visit(server.url, cookies).get(back))).toEqual(failure('state'))
  })

  it('refuses a state that is older than 10 minutes', async () => {
    const visitor = browser()
    const back = await consent(visitor, login)
    await database.query(
      `UPDATE state.sessions SET sess = jsonb_set(sess::jsonb, '{oauth,expiresAt}', to_jsonb($2::bigint))::json
       WHERE sess->'oauth'->>'state' = $1`,
      [new URLSearchParams(back.split('?')[1]).get('state'), Date.now() - 1],
    )
    expect(endOf(await visitor.get(back))).toEqual(failure('state'))
  })

  it('refuses the state of the other provider', async () => {
    const visitor = browser()
    const back = await consent(visitor, provider === 'discord' ? '/api/reddit/login' : '/api/login')
    expect(endOf(await visitor.get(`${callback}?${back.split('?')[1]}`))).toEqual(failure('state'))
  })

  it('refuses a code that was used', async () => {
    const visitor = browser()
    const code = new URLSearchParams((await consent(browser(), login)).split('?')[1]).get('code')!
    const tryIt = async () => {
      const back = await consent(visitor, login)
      return endOf(await visitor.get(back.replace(/code=[^&]+/, `code=${code}`)))
    }
    expect(await tryIt()).toEqual(success)
    expect(await tryIt()).toEqual(failure('provider'))
  })

  it.each([
    ['error=access_denied', 'denied'],
    ['error=server_error&error_description=oh', 'provider'],
    ['error=access_denied&error=x', 'provider'],
    ['', 'provider'],
    ['code=', 'provider'],
    ['code=a&code=b', 'provider'],
  ])('ends on a page that says so where the provider comes back with "%s"', async (query, reason) => {
    const visitor = browser()
    const state = new URLSearchParams((await consent(visitor, login)).split('?')[1]).get('state')
    expect(endOf(await visitor.get(`${callback}?${query}&state=${state}`))).toEqual(failure(reason))
    expect((await visitor.get('/api/me')).status).toBe(401)
  })

  it('ends on a page that says so where the provider is broken', async () => {
    const visitor = browser()
    const back = await consent(visitor, login)
    peer.instead = (_req, res) => {
      res.end('null')
      return true
    }
    expect(endOf(await visitor.get(back))).toEqual(failure('provider'))
    expect((await visitor.get('/healthz')).status).toBe(200)
  })

  it('keeps a session until the new login is there', async () => {
    const visitor = browser()
    await signIn(visitor)
    const {user} = (await visitor.get('/api/me')).body
    await visitor.get(`${callback}?error=access_denied`)
    expect((await visitor.get('/api/me')).body.user).toEqual(user)
    subject = nextSubject()
    is('Other')
    await signIn(visitor)
    expect((await visitor.get('/api/me')).body.user.username).toBe('Other')
  })

  it('does nothing on HEAD', async () => {
    const visitor = browser()
    expect((await visitor.request('HEAD', login)).headers.get('location')).toBeNull()
    const back = await consent(visitor, login)
    expect((await visitor.request('HEAD', back)).headers.get('location')).toBeNull()
    expect(endOf(await visitor.get(back))).toEqual(success)
  })

  it('is an invitation taken up, by the id at the provider', async () => {
    const ann = await signUp(server)
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby'})).body
    const userId = provider === 'discord' ? subject : subject.slice(-13)
    // Seventeen digits are Discord's, fewer are Reddit's.
    expect((await ann.post(`/api/rooms/${room.id}/invite`, {userId: `${provider}_${userId}`})).body).toEqual({ok: true})
    const visitor = browser()
    await signIn(visitor)
    expect((await visitor.get('/api/rooms')).body.invitations).toMatchObject([{roomId: room.id}])
  })

  it('leaves no code, state, name or token in the log', async () => {
    const visitor = browser()
    is('Nelly Telling')
    const back = await consent(visitor, login)
    await visitor.get(back)
    const logged = server.logged.join('')
    for (const secret of new URLSearchParams(back.split('?')[1]).values()) expect(logged).not.toContain(secret)
    for (const secret of ['Nelly Telling', subject, peer.clientSecret]) expect(logged).not.toContain(secret)
  })
})

describe('a login with Discord', () => {
  it('shows the address that Discord gives, and matches nobody by it', async () => {
    const ann = await signUp(server)
    peer.profile = {id: nextSubject(), username: 'Nelly', email: ann.email, verified: true}
    const visitor = browser()
    expect(endOf(await visitor.get(await consent(visitor, '/api/login')))).toEqual(success)
    const {user} = (await visitor.get('/api/me')).body
    expect(user.email).toBe(ann.email)
    expect(user.id).not.toBe(ann.id)
    expect((await ann.get('/api/me')).body.user.username).toBe(ann.username)
  })
})

describe('without credentials', () => {
  it('is LOGIN_NOT_CONFIGURED, and says when to try again', async () => {
    const bare = visit((await startServer()).url)
    for (const path of ['/api/login', '/api/callback?code=a', '/api/reddit/login', '/api/reddit/callback?code=a']) {
      const reply = await bare.get(path)
      expect([reply.status, reply.body.code]).toEqual([503, 'LOGIN_NOT_CONFIGURED'])
      expect(reply.headers.get('retry-after')).toMatch(/^\d+$/)
    }
    expect(bare.cookies.size).toBe(0)
  })
})

describe('a provider that takes its time', () => {
  it('keeps nobody else waiting', async () => {
    peer.profile = {id: nextSubject(), username: 'Slow'}
    const visitor = browser()
    const back = await consent(visitor, '/api/login')
    let goOn = () => {}
    peer.instead = (req, res) => {
      if (!req.url!.includes('token')) return false
      goOn = () => res.writeHead(503).end()
      return true
    }
    let ended = false
    const login = visitor.get(back).finally(() => {
      ended = true
    })
    await eventually(() => peer.asked.at(-1) === 'POST /api/oauth2/token')
    expect((await browser().get('/api/posts')).status).toBe(200)
    expect(ended).toBe(false)
    goOn()
    expect(endOf(await login)).toEqual(failure('provider'))
  })
})
