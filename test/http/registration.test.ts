import {readdir, readFile} from 'node:fs/promises'
import {join} from 'node:path'
import {Client} from 'pg'
import {describe, expect, it, vi} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {type Reply, signUp, startServer, type Visitor, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
const HOME = '/posts/?login=ok'
let addresses = 0
const newAddress = () => `someone${++addresses}@example.com`

const register = async (
  email: string,
  password: string,
  username = 'Somebody',
  visitor = visit(server().url),
): Promise<Visitor> => {
  const reply = await visitor.post('/api/email/register', {email, password, username})
  expect(reply.status, reply.text).toBe(200)
  return visitor
}
const resend = (visitor: Visitor, email: string) => visitor.post('/api/email/resend-verification', {email})
const logIn = (email: string, password: string, visitor = visit(server().url)) =>
  visitor.post('/api/email/login', {email, password})
/** The links of this many mails, oldest first. */
const links = (email: string, count: number): Promise<string[]> =>
  eventually(
    async () => {
      const found = await server().links(email)
      return found.length >= count ? found : null
    },
    {what: `${count} mails to ${email}`},
  )
const open = async (link: string, visitor = visit(server().url)): Promise<string | null> => {
  const {pathname, search} = new URL(link)
  const reply = await visitor.get(pathname + search)
  expect(reply.status).toBe(302)
  return reply.headers.get('location')
}
const expectNoFurtherMail = async (email: string, count: number) => {
  const client = new Client({connectionString: server().databaseUrl})
  await client.connect()
  const isQueueEmpty = async () => (await client.query('SELECT FROM state.mails')).rowCount === 0
  await eventually(isQueueEmpty, {what: 'the queue of mails to be empty'})
  await client.end()
  expect(await server().links(email)).toHaveLength(count)
}
const usernameOf = async (visitor: Visitor): Promise<string> => (await visitor.get('/api/me')).body.user.username
const codeOf = ({status, body}: Reply) => [status, body.code]

describe('registerUser', () => {
  it('signs nobody in before the link is used, which does under a new session id', async () => {
    const email = newAddress()
    const visitor = visit(server().url)
    const reply = await visitor.post('/api/email/register', {email, password: 'secret one', username: 'New'})
    expect(reply.body).toEqual({ok: true, message: expect.stringMatching(/^Please check your email/)})
    expect((await visitor.get('/api/me')).status).toBe(401)
    const before = visitor.cookies.get('sid')
    const [link] = await links(email, 1)
    expect(link).toMatch(
      new RegExp(`^${server().env.BASE_URL ?? 'http://localhost:0'}/api/email/verify\\?token=[a-z2-7.]+$`),
    )
    expect(await open(link!, visitor)).toBe(HOME)
    expect(visitor.cookies.get('sid')).not.toBe(before)
    expect(await usernameOf(visitor)).toBe('New')
    expect((await visit(server().url, new Map([['sid', before!]])).get('/api/me')).status).toBe(401)
    expect((await logIn(email, 'secret one')).body).toEqual({ok: true, redirect: HOME})
  })

  it('refuses an address that is verified, however it is spelt, and mails nothing', async () => {
    const email = newAddress()
    await signUp(server(), {email})
    for (const spelt of [email, email.toUpperCase(), ` ${email}\n`, email.replace('@e', '@E')]) {
      const reply = await visit(server().url).post('/api/email/register', {email: spelt, password: 'secret one'})
      expect(codeOf(reply)).toEqual([400, 'EMAIL_TAKEN'])
    }
    await expectNoFurtherMail(email, 1)
  })

  it('refuses what is no address', async () => {
    for (const email of [
      '',
      'x',
      '@',
      'a@',
      '@b.com',
      'a@b',
      'a b@example.com',
      'a@example..com',
      'a@exa mple.com',
      'a,b@example.com',
      'a@example.com,b@example.com',
      '<a@example.com>',
      'a@[127.0.0.1]',
      'a@1.2.3.4',
      '.a@example.com',
      `${'a'.repeat(65)}@example.com`,
      `a@${'b'.repeat(250)}.com`,
      'a@example.com\r\nBcc: b@example.com',
    ]) {
      const reply = await visit(server().url).post('/api/email/register', {email, password: 'secret one'})
      expect(codeOf(reply), email).toEqual([400, 'INVALID'])
      expect(reply.body.issues).toEqual([{path: 'email', message: 'must be an email address'}])
    }
  })

  it('may be repeated until one link is used; then that password and name count, and the others die', async () => {
    for (const winner of [0, 1, 2]) {
      const email = newAddress()
      const passwords = ['secret one', 'secret two', 'secret three']
      for (const [index, password] of passwords.entries()) {
        await register(email, password, `Attempt ${index}`)
        await links(email, index + 1)
      }
      const all = await links(email, 3)
      const visitor = visit(server().url)
      expect(await open(all[winner]!, visitor)).toBe(HOME)
      expect(await usernameOf(visitor)).toBe(`Attempt ${winner}`)
      for (const [index, password] of passwords.entries()) {
        expect((await logIn(email, password)).status).toBe(index === winner ? 200 : 401)
        expect(await open(all[index]!)).toBe(`/?login=failed&reason=${index === winner ? 'used' : 'invalid'}`)
      }
    }
  })

  it('lets one of two links win that are opened at the same time', async () => {
    const email = newAddress()
    for (const password of ['secret one', 'secret two']) await register(email, password)
    const found = await Promise.all((await links(email, 2)).map((link) => open(link)))
    expect(found.sort()).toEqual(['/?login=failed&reason=invalid', HOME])
    const logins = await Promise.all(['secret one', 'secret two'].map((password) => logIn(email, password)))
    expect(logins.map(({status}) => status).sort()).toEqual([200, 401])
  })

  it('names the username and the time of its own attempt in the mail', async () => {
    const email = newAddress()
    const began = Math.floor(Date.now() / 1000) * 1000
    await register(email, 'secret one', 'Mallory')
    await links(email, 1)
    const dir = join(server().dataDir, 'mail')
    const files = await Promise.all(
      (await readdir(dir)).filter((file) => file.endsWith('.eml')).map((file) => readFile(join(dir, file), 'utf8')),
    )
    const mail = files.find((text) => text.includes(email))!
    expect(mail).toMatch(/^Username: Mallory\r?$/m)
    const time = /^Time: (\S+) (\S+) UTC\r?$/m.exec(mail)!
    const at = Date.parse(`${time[1]}T${time[2]}Z`)
    expect(at).toBeGreaterThanOrEqual(began)
    expect(at).toBeLessThanOrEqual(Date.now())
  })

  it('does not fail while the mail server is down', async () => {
    const down = await startServer({SMTP_URL: 'smtp://127.0.0.1:1'})
    const email = newAddress()
    const reply = await visit(down.url).post('/api/email/register', {email, password: 'secret one'})
    expect(reply.status).toBe(200)
    expect((await visit(down.url).post('/api/email/resend-verification', {email})).status).toBe(200)
  })
})

describe('verifyEmail', () => {
  it('is not done by a HEAD', async () => {
    const email = newAddress()
    await register(email, 'secret one')
    const [link] = await links(email, 1)
    const visitor = visit(server().url)
    const {pathname, search} = new URL(link!)
    for (let n = 0; n < 3; n++) {
      const head = await visitor.request('HEAD', pathname + search)
      expect([head.status, head.headers.get('location'), head.headers.getSetCookie()]).toEqual([200, null, []])
    }
    expect(await open(link!, visitor)).toBe(HOME)
  })

  it('says why a token does not help', async () => {
    const email = newAddress()
    await register(email, 'secret one')
    const [link] = await links(email, 1)
    const token = new URL(link!).searchParams.get('token')!
    const [id, secret] = token.split('.')
    const wrong = [
      '',
      '?token=',
      '?token=x',
      `?token=${id}`,
      `?token=${id}.${secret!.slice(0, -1)}`,
      `?token=${id}.${'a'.repeat(52)}`,
      `?token=${'a'.repeat(26)}.${secret}`,
      `?token=${token.toUpperCase()}`,
      `?token=${token}%00`,
      `?token=${token}&token=${token}`,
      `?token=${'x'.repeat(5_000)}`,
    ]
    for (const query of wrong) {
      expect(await open(`${server().url}/api/email/verify${query}`), query).toBe('/?login=failed&reason=invalid')
    }
    expect(await open(link!)).toBe(HOME)
    expect(await open(link!)).toBe('/?login=failed&reason=used')
  })

  it('takes a token for 24 hours, and says of a used one that it is used even when it is old', async () => {
    const [late, used] = [newAddress(), newAddress()]
    const began = Date.now()
    for (const email of [late, used]) await register(email, 'secret one')
    const [[lateLink], [usedLink]] = [await links(late, 1), await links(used, 1)]
    try {
      vi.useFakeTimers({toFake: ['Date'], now: began + 24 * 3_600_000 - 1_000})
      expect(await open(usedLink!)).toBe(HOME)
      vi.setSystemTime(Date.now() + 120_000)
      expect(await open(lateLink!)).toBe('/?login=failed&reason=expired')
      expect(await open(usedLink!)).toBe('/?login=failed&reason=used')
    } finally {
      vi.useRealTimers()
    }
    await resend(visit(server().url), late)
    expect(await open((await links(late, 2))[1]!)).toBe(HOME)
    expect((await logIn(late, 'secret one')).status).toBe(200)
  })
})

describe('logIn', () => {
  it('is 403 with resend for the newest attempt’s password at an unverified address, else 401', async () => {
    const email = newAddress()
    await register(email, 'secret one')
    expect(codeOf(await logIn(email, 'secret one'))).toEqual([403, 'NOT_VERIFIED'])
    await register(email, 'secret two')
    const unverified = await logIn(email.toUpperCase(), 'secret two')
    expect(unverified.body).toMatchObject({ok: false, code: 'NOT_VERIFIED', resend: true})
    expect(unverified.status).toBe(403)
    expect(unverified.headers.get('x-log-position')).toBeNull()
    for (const wrong of ['secret one', 'wrong', '', 'x'.repeat(1_000)]) {
      expect(codeOf(await logIn(email, wrong))).toEqual([401, 'WRONG_CREDENTIALS'])
    }
  })

  it('answers alike for a wrong password, an unknown address and no address', async () => {
    const email = newAddress()
    await signUp(server(), {email})
    const replies = await Promise.all([
      logIn(email, 'wrong'),
      logIn(newAddress(), 'wrong'),
      logIn('no address', 'wrong'),
      logIn('', ''),
    ])
    const seen = replies.map(({status, body: {requestId: _, ...body}, headers}) => ({
      status,
      body,
      headers: [...headers.keys()].sort(),
    }))
    for (const one of seen) expect(one).toEqual(seen[0])
    expect(seen[0]).toMatchObject({status: 401, body: {code: 'WRONG_CREDENTIALS'}})
  })
})

describe('resendVerification', () => {
  it('sends the attempt that this session registered, though there are others', async () => {
    const email = newAddress()
    const own = await register(email, 'secret own', 'Own')
    await register(email, 'secret other', 'Other')
    await links(email, 2)
    expect((await resend(own, email)).body).toEqual({
      ok: true,
      message: expect.stringMatching(/^Verification email sent again/),
    })
    const visitor = visit(server().url)
    expect(await open((await links(email, 3))[2]!, visitor)).toBe(HOME)
    expect(await usernameOf(visitor)).toBe('Own')
    expect((await logIn(email, 'secret own')).status).toBe(200)
    expect((await logIn(email, 'secret other')).status).toBe(401)
  })

  it('sends the attempt that this session got a 403 login for', async () => {
    const email = newAddress()
    await register(email, 'secret older', 'Older')
    await register(email, 'secret newer', 'Newer')
    await links(email, 2)
    const visitor = visit(server().url)
    expect((await logIn(email, 'secret newer', visitor)).status).toBe(403)
    await resend(visitor, email)
    expect(await open((await links(email, 3))[2]!, visitor)).toBe(HOME)
    expect(await usernameOf(visitor)).toBe('Newer')
    expect((await logIn(email, 'secret newer')).status).toBe(200)
  })

  it('does not forget it over another registration, nor over a sign-in as somebody else', async () => {
    const [email, other, third] = [newAddress(), newAddress(), newAddress()]
    const me = await register(email, 'secret one', 'Mine')
    await register(email, 'secret two', 'Other')
    await register(other, 'secret one', 'Elsewhere', me)
    await resend(me, email)
    const visitor = visit(server().url)
    await register(third, 'secret one', 'Third', me)
    expect(await open((await links(third, 1))[0]!, me)).toBe(HOME)
    await resend(me, email)
    expect(await open((await links(email, 4))[3]!, visitor)).toBe(HOME)
    expect(await usernameOf(visitor)).toBe('Mine')
    expect(await usernameOf(me)).toBe('Third')
  })

  it('sends the only open attempt to whoever asks', async () => {
    const email = newAddress()
    await register(email, 'secret one', 'Only')
    await links(email, 1)
    await resend(visit(server().url), email)
    const [first, second] = await links(email, 2)
    const visitor = visit(server().url)
    expect(await open(second!, visitor)).toBe(HOME)
    expect(await usernameOf(visitor)).toBe('Only')
    expect((await logIn(email, 'secret one')).status).toBe(200)
    expect(await open(first!)).toBe('/?login=failed&reason=used')
  })

  it('sends, where there are several, a link that verifies and signs in but sets no password', async () => {
    const email = newAddress()
    for (const password of ['secret one', 'secret two']) await register(email, password, 'Claimed')
    await links(email, 2)
    await resend(visit(server().url), email)
    const all = await links(email, 3)
    expect(codeOf(await logIn(email, 'secret two'))).toEqual([403, 'NOT_VERIFIED'])
    const visitor = visit(server().url)
    expect(await open(all[2]!, visitor)).toBe(HOME)
    expect(await usernameOf(visitor)).toMatch(/^member-[a-z2-7]{5}$/)
    for (const password of ['secret one', 'secret two', '']) expect((await logIn(email, password)).status).toBe(401)
    for (const link of all.slice(0, 2)) expect(await open(link)).toBe('/?login=failed&reason=invalid')
  })

  it('does not take an attempt for another address for this one’s', async () => {
    const [mine, theirs] = [newAddress(), newAddress()]
    await register(theirs, 'secret theirs', 'Theirs')
    const me = await register(mine, 'secret mine', 'Mine')
    await links(theirs, 1)
    await resend(me, theirs)
    const visitor = visit(server().url)
    expect(await open((await links(theirs, 2))[1]!, visitor)).toBe(HOME)
    expect(await usernameOf(visitor)).toBe('Theirs')
  })

  it('answers alike, and mails nothing, where the address is unknown or verified', async () => {
    const [unknown, verified, waiting, contested] = [newAddress(), newAddress(), newAddress(), newAddress()]
    await signUp(server(), {email: verified})
    await register(waiting, 'secret one')
    for (const password of ['secret one', 'secret two']) await register(contested, password)
    const seen = []
    for (const email of [unknown, verified, waiting, contested]) {
      const {status, text, headers} = await resend(visit(server().url), email)
      seen.push({status, text, headers: [...headers.keys()].sort()})
    }
    for (const one of seen) expect(one).toEqual(seen[0])
    expect(seen[0]!.status).toBe(200)
    await links(waiting, 2)
    await links(contested, 3)
    await expectNoFurtherMail(unknown, 0)
    expect(await server().links(verified)).toHaveLength(1)
  })
})
