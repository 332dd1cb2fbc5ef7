import {describe, expect, it} from 'vitest'
import {smtpPeer} from '../mail/smtpPeer.ts'
import {eventually} from '../support/eventually.ts'
import {connect, connectBot, linkIn, startServer, visit} from '../support/server.ts'

const IP = '203.0.113.77'

describe('the log', () => {
  it('holds request ids, and no password, token, cookie, address, text or client address', async () => {
    let code = 0
    const peer = await smtpPeer({refuse: () => code})
    const server = await startServer({LOG_LEVEL: 'trace', SMTP_URL: peer.url, TRUST_PROXY: 'loopback'})
    const secrets = new Set<string>([
      server.env.CHAT_BOT_TOKEN!,
      server.env.SESSION_SECRET!,
      server.env.MASTER_KEY!,
      IP,
    ])
    const secret = (value: string): string => {
      secrets.add(value)
      return value
    }
    const requestIds: string[] = []
    const person = () => {
      const visitor = visit(server.url)
      const request: typeof visitor.request = async (method, path, body, headers) => {
        const reply = await visitor.request(method, path, body, {'x-forwarded-for': IP, ...headers})
        requestIds.push(reply.headers.get('x-request-id')!)
        for (const cookie of visitor.cookies.values())
          for (const form of [cookie, decodeURIComponent(cookie)]) {
            if (form.length > 20) secret(form)
          }
        return reply
      }
      return {
        ...visitor,
        request,
        get: (path: string, headers?: Record<string, string>) => request('GET', path, undefined, headers),
        post: (path: string, body?: unknown, headers?: Record<string, string>) => request('POST', path, body, headers),
      }
    }
    const mailTo = (address: string, count: number): Promise<string> =>
      eventually(
        () => {
          const mails = peer.received.filter(({to}) => to.includes(address))
          return mails.length >= count ? mails.at(-1)!.message : null
        },
        {what: `mail ${count} to ${address}`},
      )
    const follow = async (who: ReturnType<typeof person>, link: string) => {
      const {pathname, search, searchParams} = new URL(link)
      secret([...searchParams.values()][0]!)
      return who.get(pathname + search)
    }

    const [email, other] = [secret('walker@example.com'), secret('other.person@example.com')]
    const [password, wrong] = [secret('correct horse battery'), secret('wrong-password-here')]
    const ann = person()
    await ann.post('/api/email/register', {email, password, username: secret('Annabella the First')})
    await ann.post('/api/email/login', {email, password: wrong})
    await ann.post('/api/email/login', {email, password})
    await ann.post('/api/email/resend-verification', {email})
    await follow(ann, linkIn(await mailTo(email, 2)))
    await follow(person(), `${server.url}/api/email/verify?token=${'a'.repeat(26)}.${'b'.repeat(52)}`)
    await ann.post('/api/email/login', {email, password})
    await ann.post('/api/email/login', {email: other, password: wrong})
    const bob = person()
    await bob.post('/api/email/register', {email: other, password, username: 'Bob'})
    await follow(bob, linkIn(await mailTo(other, 1)))

    await ann.get('/api/me')
    await ann.get(`/api/me?token=${secret('token-in-a-query')}`)
    await ann.get(`/${secret('secret-in-a-path')}`)
    await ann.post('/api/posts', {title: secret('the title of a post'), body: secret('the body of a post')})
    await ann.post('/api/posts', {title: 'x'}, {'idempotency-key': secret('an idempotency key')})
    await ann.post('/api/posts', `{"title":"${secret('broken JSON text')}`)
    await ann.post('/api/posts', {title: secret('too long '.repeat(30))})
    const {id} = (await ann.post('/api/rooms', {name: secret('the name of a room')})).body.room
    await ann.post(`/api/rooms/${id}/invite`, {userId: other})
    await ann.post(`/api/rooms/${id}/invite`, {userId: secret('unknown@example.com')})
    await bob.post(`/api/rooms/${id}/join`)
    await bob.post(`/api/rooms/${id}/messages`, {content: secret('a message over HTTP'), nonce: secret('nonce-of-bob')})
    await ann.get(`/api/rooms/${id}/messages`)
    const socket = await connect(ann, {extraHeaders: {'x-forwarded-for': IP}})
    await socket.ask('join_room', id, {since: -1})
    await socket.ask('send_message', {roomId: id, content: secret('a message over a socket')})
    await socket.ask('send_message', {roomId: id, content: 7, nonce: secret('odd payload')})
    const bot = await connectBot(server)
    await bot.ask('join_room', id)
    await bot.ask('send_message', {roomId: id, content: secret('a message of a bot')})
    await expect(connect(server, {auth: {botToken: secret('not-the-bot-token')}})).rejects.toThrow()
    await person().get('/api/me', {authorization: `Bearer ${secret('not-a-bearer-token')}`})
    await person().post('/api/posts', {title: 'x'}, {origin: 'https://evil.example'})
    code = 450
    await ann.post('/api/email/forgot', {email})
    await eventually(() => server.logged.some((line) => line.includes('450')), {what: 'the refused mail'})
    await ann.get('/api/logout')
    await server.stop()
    await peer.stop()

    const logged = server.logged.join('')
    for (const requestId of requestIds) expect(logged).toContain(requestId)
    for (const value of secrets) {
      const found = server.logged.filter(
        (line) => line.includes(value) || line.includes(JSON.stringify(value).slice(1, -1)),
      )
      expect(found, `lines with ${value}`).toEqual([])
    }
  })
})
