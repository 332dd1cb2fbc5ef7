import {Client} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connect, signUp, startServer, type TestServer, type Visitor, visit} from '../support/server.ts'

const HOME = '/posts/?login=ok'

let server: TestServer
let other: TestServer
let database: Client
beforeAll(async () => {
  server = await startServer({}, {shared: true})
  other = await startServer(server.env, {shared: true})
  database = new Client({connectionString: server.databaseUrl})
  await database.connect()
})
afterAll(async () => {
  await database.end()
  await other.stop()
  await server.stop()
})

let addresses = 0
const newAddress = () => `forgetful${++addresses}@example.com`
const resetLinks = async (email: string) => (await server.links(email)).filter((link) => link.includes('reset='))
/** The token of the newest of so many reset mails. */
const tokenTo = async (email: string, count = 1): Promise<string> => {
  const links = await eventually(async () => {
    const found = await resetLinks(email)
    return found.length >= count ? found : null
  })
  return new URL(links.at(-1)!).searchParams.get('reset')!
}
const forgot = (email: string, visitor = visit(server.url)) => visitor.post('/api/email/forgot', {email})
const logIn = async (email: string, password: string, visitor: Visitor = visit(server.url)) => {
  const {status, body} = await visitor.post('/api/email/login', {email, password})
  return {status, code: body.code, visitor}
}
const mailsQueued = async () => Number((await database.query('SELECT count(*) FROM state.mails')).rows[0].count)
const settled = () => eventually(async () => (await mailsQueued()) === 0)

describe('requestPasswordReset', () => {
  it('mails a link to the page that asks for a new password', async () => {
    const ann = await signUp(server, {email: newAddress()})
    const reply = await forgot(ann.email)
    expect([reply.status, reply.body]).toEqual([200, {ok: true, message: expect.any(String)}])
    await tokenTo(ann.email)
    const [link] = await resetLinks(ann.email)
    expect(link).toMatch(/^http:\/\/localhost:\d+\/\?reset=[a-z2-7.]+$/)
  })

  it('answers the same whether or not the address is known, and mails only where it is', async () => {
    const ann = await signUp(server, {email: newAddress()})
    const unverified = newAddress()
    await visit(server.url).post('/api/email/register', {email: unverified, password: 'secret one'})
    const unknown = newAddress()
    const answers = []
    for (const email of [ann.email, unverified, unknown, ` ${unknown.toUpperCase()} `]) {
      const {status, body, headers} = await forgot(email)
      const {date: _date, 'x-request-id': _id, ...rest} = Object.fromEntries(headers)
      answers.push({status, body, rest})
    }
    for (const answer of answers) expect(answer).toEqual(answers[0])
    await tokenTo(ann.email)
    await tokenTo(unverified)
    await settled()
    expect(await server.links(unknown)).toEqual([])
  })

  it.each([{}, {email: 'no address'}, {email: 7}, {email: ['a@example.com']}])('refuses %j', async (body) => {
    const reply = await visit(server.url).post('/api/email/forgot', body)
    expect([reply.status, reply.body.code, reply.body.issues[0].path]).toEqual([400, 'INVALID', 'email'])
  })

  it('shares the limit of mails with register and resend, and counts unknown addresses', async () => {
    const limited = await startServer({MAILS_PER_IP: '3'})
    const visitor = visit(limited.url)
    const email = newAddress()
    const body = {email, password: 'secret one'}
    const statuses = []
    for (const path of ['register', 'forgot', 'resend-verification', 'forgot']) {
      statuses.push((await visitor.post(`/api/email/${path}`, path === 'register' ? body : {email})).status)
    }
    expect(statuses).toEqual([200, 200, 200, 429])
    const refused = await visitor.post('/api/email/forgot', {email: newAddress()})
    expect([refused.status, refused.body.code]).toEqual([429, 'RATE_LIMITED'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(86_000)
  })
})

describe('resetPassword', () => {
  const reset = (token: string, password: string, visitor = visit(server.url)) =>
    visitor.post('/api/email/reset', {token, password})

  it('signs in with a new password, and the old one is over', async () => {
    const ann = await signUp(server, {email: newAddress(), password: 'old secret'})
    await forgot(ann.email)
    const visitor = visit(server.url)
    const reply = await reset(await tokenTo(ann.email), 'new secret', visitor)
    expect([reply.status, reply.body]).toEqual([200, {ok: true, redirect: HOME}])
    expect(reply.headers.get('x-log-position')).toMatch(/^\d+$/)
    expect((await visitor.get('/api/me')).body.user).toMatchObject({id: ann.id, username: ann.username})
    expect(await logIn(ann.email, 'old secret')).toMatchObject({status: 401, code: 'WRONG_CREDENTIALS'})
    expect(await logIn(ann.email, 'new secret')).toMatchObject({status: 200})
  })

  it('ends every other session of the person, on all nodes, and their sockets; and nobody else’s', async () => {
    const ann = await signUp(server, {email: newAddress()})
    const bob = await signUp(server)
    const elsewhere = (await logIn(ann.email, 'secret one', visit(other.url))).visitor
    const sockets = [await connect(ann), await connect(elsewhere)]
    const bobs = await connect(bob)
    await forgot(ann.email)
    const visitor = visit(server.url, new Map(ann.cookies))
    expect((await reset(await tokenTo(ann.email), 'new secret', visitor)).status).toBe(200)
    expect([(await ann.get('/api/me')).status, (await elsewhere.get('/api/me')).status]).toEqual([401, 401])
    await eventually(() => sockets.every((socket) => socket.disconnected))
    expect((await visitor.get('/api/me')).status).toBe(200)
    expect((await visit(other.url, visitor.cookies).get('/api/me')).status).toBe(200)
    expect(visitor.cookies.get('sid')).not.toBe(ann.cookies.get('sid'))
    expect([(await bob.get('/api/me')).status, bobs.connected]).toEqual([200, true])
  })

  it('takes a token once, and every older one with it', async () => {
    const ann = await signUp(server, {email: newAddress()})
    await forgot(ann.email)
    const first = await tokenTo(ann.email)
    await forgot(ann.email)
    const second = await tokenTo(ann.email, 2)
    expect((await reset(second, 'new secret')).status).toBe(200)
    for (const token of [first, second]) {
      const refused = await reset(token, 'newer secret')
      expect([refused.status, refused.body.code]).toEqual([400, 'TOKEN_INVALID'])
      expect(refused.headers.getSetCookie()).toEqual([])
    }
    expect(await logIn(ann.email, 'new secret')).toMatchObject({status: 200})
  })

  it('lets one of several uses at once win', async () => {
    const ann = await signUp(server, {email: newAddress()})
    await forgot(ann.email)
    const token = await tokenTo(ann.email)
    const passwords = ['secret 1', 'secret 2', 'secret 3']
    const replies = await Promise.all(
      passwords.map((password, n) => reset(token, password, visit(n === 1 ? other.url : server.url))),
    )
    expect(replies.map(({status}) => status).sort()).toEqual([200, 400, 400])
    const winner = passwords[replies.findIndex(({status}) => status === 200)]!
    expect(await logIn(ann.email, winner)).toMatchObject({status: 200})
  })

  it('makes an account where nobody had verified the address, and nobody else’s password works', async () => {
    const email = newAddress()
    const stranger = visit(server.url)
    await stranger.post('/api/email/register', {email, password: 'strangers one', username: 'Ann'})
    await forgot(email)
    const visitor = visit(server.url)
    expect((await reset(await tokenTo(email), 'owners one', visitor)).status).toBe(200)
    expect((await visitor.get('/api/me')).body.user).toMatchObject({email, username: 'Ann'})
    expect(await logIn(email, 'strangers one')).toMatchObject({status: 401})
    expect(await logIn(email, 'owners one')).toMatchObject({status: 200})
    const verification = (await server.links(email)).find((link) => link.includes('verify'))!
    const {pathname, search} = new URL(verification)
    const late = await stranger.get(pathname + search)
    expect(late.headers.get('location')).toBe('/?login=failed&reason=invalid')
    expect((await stranger.get('/api/me')).status).toBe(401)
  })

  it('leaves an unverified registration as it was while nobody opens the link', async () => {
    const email = newAddress()
    const visitor = visit(server.url)
    await visitor.post('/api/email/register', {email, password: 'secret one', username: 'Ann'})
    await forgot(email)
    await tokenTo(email)
    expect(await logIn(email, 'secret one')).toMatchObject({status: 403, code: 'NOT_VERIFIED'})
    const link = await eventually(async () => (await server.links(email)).find((one) => one.includes('verify')))
    const {pathname, search} = new URL(link)
    expect((await visitor.get(pathname + search)).headers.get('location')).toBe(HOME)
    expect(await logIn(email, 'secret one')).toMatchObject({status: 200})
  })

  it('refuses what was never a token, a token of the other mail, and one that was tampered with', async () => {
    const ann = await signUp(server, {email: newAddress()})
    const verification = new URL((await server.links(ann.email))[0]!).searchParams.get('token')!
    await forgot(ann.email)
    const token = await tokenTo(ann.email)
    const tampered = `${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`
    for (const wrong of ['', 'made-up', verification, tampered, `${token} `, token.toUpperCase(), 'x'.repeat(999)]) {
      const refused = await reset(wrong, 'new secret')
      expect([refused.status, refused.body.code]).toEqual([400, 'TOKEN_INVALID'])
    }
    expect((await visit(server.url).get(`/api/email/verify?token=${token}`)).headers.get('location')).toBe(
      '/?login=failed&reason=invalid',
    )
    expect((await reset(token, 'new secret')).status).toBe(200)
  })

  it.each([
    [{password: 'new secret'}, 'token'],
    [{token: 7, password: 'new secret'}, 'token'],
    [{token: 'x'.repeat(1_001), password: 'new secret'}, 'token'],
    [{token: 'x'}, 'password'],
    [{token: 'x', password: 'short'}, 'password'],
    [{token: 'x', password: 'ü'.repeat(37)}, 'password'],
  ])('refuses %j, naming the field', async (body, path) => {
    const reply = await visit(server.url).post('/api/email/reset', body)
    expect([reply.status, reply.body.code, reply.body.issues[0].path]).toEqual([400, 'INVALID', path])
  })

  it('keeps the token where the new password is not allowed', async () => {
    const ann = await signUp(server, {email: newAddress()})
    await forgot(ann.email)
    const token = await tokenTo(ann.email)
    expect((await reset(token, 'short')).status).toBe(400)
    expect((await reset(token, 'long enough')).status).toBe(200)
  })

  it('counts as a login attempt, of the address and of the account', async () => {
    const limited = await startServer({
      LOGINS_PER_MINUTE: '3',
      TRUST_PROXY: '1',
      DATABASE_URL: server.databaseUrl,
      MASTER_KEY: server.env.MASTER_KEY,
    })
    const from = (ip: string) => ({'x-forwarded-for': ip})
    const attempt = async (ip: string, path: string, body: object) =>
      (await visit(limited.url).post(`/api/email/${path}`, body, from(ip))).status
    const wrong = {token: 'made-up', password: 'new secret'}
    for (let n = 0; n < 3; n++) expect(await attempt('192.0.2.1', 'reset', wrong)).toBe(400)
    expect(await attempt('192.0.2.1', 'reset', wrong)).toBe(429)
    expect(await attempt('192.0.2.1', 'login', {email: newAddress(), password: 'x'})).toBe(429)

    const ann = await signUp(server, {email: newAddress()})
    await forgot(ann.email)
    const token = await tokenTo(ann.email)
    const guess = {token: `${token.split('.')[0]}.${'a'.repeat(52)}`, password: 'new secret'}
    for (let n = 0; n < 2; n++) expect(await attempt(`192.0.2.${10 + n}`, 'reset', guess)).toBe(400)
    expect(await attempt('192.0.2.20', 'login', {email: ann.email, password: 'wrong one'})).toBe(401)
    expect(await attempt('192.0.2.21', 'reset', guess)).toBe(429)
    expect(await attempt('192.0.2.22', 'login', {email: ann.email, password: 'secret one'})).toBe(429)
  })

  it('leaves no token, password or address in the log', async () => {
    const ann = await signUp(server, {email: newAddress()})
    await forgot(ann.email)
    const token = await tokenTo(ann.email)
    await reset(token, 'a telling secret')
    // Without SMTP_URL the link is logged on purpose: for whoever tries the server alone.
    const logged = server.logged.filter((line) => !line.includes('no SMTP_URL')).join('')
    for (const secret of [token, token.split('.')[1]!, 'a telling secret', ann.email]) {
      expect(logged).not.toContain(secret)
    }
  })
})
