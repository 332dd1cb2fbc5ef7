import {describe, expect, it} from 'vitest'
import {clientNetwork} from '../../src/edge/limits.ts'
import {eventually} from '../support/eventually.ts'
import {connect, connectBot, type Reply, signUp, startServer, visit} from '../support/server.ts'
import {startTwoNodes} from '../support/twoNodes.ts'

const expectLimited = (reply: Reply, {atMost}: {atMost: number}) => {
  expect([reply.status, reply.body.code], reply.text).toEqual([429, 'RATE_LIMITED'])
  const seconds = Number(reply.headers.get('retry-after'))
  expect(seconds).toBeGreaterThan(atMost - 60)
  expect(seconds).toBeLessThanOrEqual(atMost)
}
const DAY = 24 * 3600
const from = (ip: string) => ({'x-forwarded-for': ip})
let people = 0
const newAddress = () => `limited${++people}@example.com`

describe('MAILS_PER_IP', () => {
  it('counts well-formed requests, whether or not a mail goes out, over nodes and restarts', async () => {
    const open = await startServer()
    const {email} = await signUp(open)
    await open.stop()
    const [first, second] = await startTwoNodes({...open.env, MAILS_PER_IP: '5'})
    const visitor = visit(first.url)
    for (const wrong of [{email: 'x', password: 'secret one'}, {email: newAddress(), password: 'short'}, {}, []]) {
      expect((await visitor.post('/api/email/register', wrong)).status).toBe(400)
      expect((await visitor.post('/api/email/resend-verification', {email: 'x'})).status).toBe(400)
    }
    expect((await visitor.post('/api/email/register', {email, password: 'secret one'})).body.code).toBe('EMAIL_TAKEN')
    expect((await visitor.post('/api/email/resend-verification', {email})).status).toBe(200)
    expect((await visit(second.url).post('/api/email/resend-verification', {email: newAddress()})).status).toBe(200)
    for (const {url} of [first, second]) {
      expect((await visit(url).post('/api/email/register', {email: newAddress(), password: 'secret one'})).status).toBe(
        200,
      )
    }
    await second.stop()
    const restarted = await startServer(first.env)
    for (const {url} of [first, restarted]) {
      const elsewhere = visit(url)
      for (const [path, body] of [
        ['register', {email: newAddress(), password: 'secret one'}],
        ['register', {email, password: 'secret one'}],
        ['resend-verification', {email: newAddress()}],
        ['forgot', {email}],
      ] as const) {
        expectLimited(await elsewhere.post(`/api/email/${path}`, body), {atMost: DAY})
      }
      expect((await elsewhere.post('/api/email/register', {})).status).toBe(400)
      expect((await elsewhere.post('/api/email/login', {email, password: 'secret one'})).status).toBe(200)
    }
  })

  it('is by the address that the trusted proxy names, and IPv6 by /64', async () => {
    const server = await startServer({MAILS_PER_IP: '2', TRUST_PROXY: 'loopback'})
    const visitor = visit(server.url)
    const ask = (ip: string) => visitor.post('/api/email/resend-verification', {email: newAddress()}, from(ip))
    const networks = [
      ['203.0.113.1', '::ffff:203.0.113.1', '::ffff:cb00:7101'],
      ['203.0.113.2', '198.51.100.9, 203.0.113.2', '203.0.113.2'],
      ['2001:db8:0:1::1', '2001:DB8::1:ffff:0:0:1', '2001:db8:0:1:1:2:3:4'],
      ['2001:db8:0:2::1', '2001:0db8:0000:0002::', '2001:db8:0:2:ffff::'],
    ] as const
    for (const [one, same, again] of networks) {
      expect((await ask(one)).status, one).toBe(200)
      expect((await ask(same)).status, same).toBe(200)
      expectLimited(await ask(again), {atMost: DAY})
    }
  })

  it('does not believe a header while no proxy is trusted', async () => {
    const server = await startServer({MAILS_PER_IP: '2'})
    const visitor = visit(server.url)
    const ask = (ip: string) => visitor.post('/api/email/resend-verification', {email: newAddress()}, from(ip))
    for (const ip of ['203.0.113.1', '203.0.113.2']) expect((await ask(ip)).status).toBe(200)
    expectLimited(await ask('203.0.113.3'), {atMost: DAY})
  })
})

describe('LOGINS_PER_MINUTE', () => {
  it('counts attempts per IP and per account, known or not, right or wrong', async () => {
    const server = await startServer({LOGINS_PER_MINUTE: '3', TRUST_PROXY: 'loopback'})
    const {email} = await signUp(server)
    const visitor = visit(server.url)
    const logIn = (to: string, password: string, ip: string) =>
      visitor.post('/api/email/login', {email: to, password}, from(ip))
    expect((await logIn(email, 'secret one', '203.0.113.1')).status).toBe(200)
    expect((await logIn(newAddress(), 'x', '203.0.113.1')).status).toBe(401)
    expect((await logIn('no address', 'x', '203.0.113.1')).status).toBe(401)
    expectLimited(await logIn(newAddress(), 'x', '203.0.113.1'), {atMost: 60})

    for (const [index, to] of [email, newAddress()].entries()) {
      const used = index === 0 ? 1 : 0
      for (let n = used; n < 3; n++) {
        expect((await logIn(n % 2 ? to.toUpperCase() : ` ${to} `, 'wrong', `198.51.${index}.${n}`)).status).toBe(401)
      }
      expectLimited(await logIn(to, 'secret one', `198.51.${index}.9`), {atMost: 60})
    }
    expect((await logIn(newAddress(), 'x', '198.51.100.100')).status).toBe(401)
  })
})

describe('LOGINS_PER_MINUTE of several nodes', () => {
  it('holds over all of them', async () => {
    const one = await startServer({LOGINS_PER_MINUTE: '3'})
    const two = await startServer(one.env)
    const logIn = (url: string) => visit(url).post('/api/email/login', {email: 'ann@example.com', password: 'x'})
    for (const {url} of [one, two, one]) expect((await logIn(url)).status).toBe(401)
    for (const {url} of [one, two]) expectLimited(await logIn(url), {atMost: 60})
  })
})

describe('WRITES_PER_MINUTE', () => {
  it('counts POSTs per person, and per IP when signed out; reads are not limited', async () => {
    const server = await startServer({WRITES_PER_MINUTE: '4', TRUST_PROXY: 'loopback'})
    const [ann, bob] = [await signUpFrom(server, '192.0.2.1'), await signUpFrom(server, '192.0.2.2')]
    const {id} = (await ann.post('/api/rooms', {name: 'x'}, from('192.0.2.3'))).body.room
    expect((await ann.post('/api/posts', {title: ''}, from('192.0.2.4'))).status).toBe(400)
    expect((await ann.post('/api/posts', '{', from('192.0.2.4'))).status).toBe(400)
    expect((await ann.post(`/api/rooms/${id}/messages`, {content: 'x'}, from('192.0.2.5'))).status).toBe(200)
    for (const [path, body] of [
      ['/api/posts', {title: 'x'}],
      ['/api/rooms', {name: 'x'}],
      [`/api/rooms/${id}/messages`, {content: 'x'}],
      [`/api/rooms/${id}/join`, undefined],
    ] as const) {
      expectLimited(await ann.post(path, body, from('192.0.2.6')), {atMost: 60})
    }
    for (let n = 0; n < 10; n++) expect((await ann.get('/api/posts')).status).toBe(200)
    expect((await ann.request('HEAD', '/api/posts')).status).toBe(200)
    for (let n = 0; n < 4; n++) expect((await bob.post('/api/posts', {title: 'x'}, from('192.0.2.6'))).status).toBe(200)

    const nobody = visit(server.url)
    const ask = (ip: string) => nobody.post('/api/email/login', {email: newAddress(), password: 'x'}, from(ip))
    for (let n = 0; n < 4; n++) expect((await ask('192.0.2.7')).status).toBe(401)
    expectLimited(await ask('192.0.2.7'), {atMost: 60})
    expect((await ask('192.0.2.8')).status).toBe(401)

    const bot = {authorization: `Bearer ${server.env.CHAT_BOT_TOKEN}`}
    for (let n = 0; n < 10; n++) expect((await nobody.post('/api/posts', {title: 'x'}, bot)).status).toBe(200)
  })
})

describe('MESSAGES_PER_MINUTE', () => {
  it('counts messages per person, over sockets and HTTP together; bots are not bound', async () => {
    const server = await startServer({MESSAGES_PER_MINUTE: '4'})
    const ann = await signUp(server)
    const bob = await signUp(server)
    const {id} = (await ann.post('/api/rooms', {name: 'x', visibility: 'open'})).body.room
    await bob.post(`/api/rooms/${id}/join`)
    const [socket, second] = [await connect(ann), await connect(ann)]
    for (const one of [socket, second]) {
      expect(await one.ask('send_message', {roomId: id, content: 'x'})).toMatchObject({ok: true})
      expect((await ann.post(`/api/rooms/${id}/messages`, {content: 'x'})).status).toBe(200)
    }
    expect(await socket.ask('send_message', {roomId: id, content: 'x'})).toMatchObject({
      ok: false,
      code: 'RATE_LIMITED',
    })
    expectLimited(await ann.post(`/api/rooms/${id}/messages`, {content: 'x'}), {atMost: 60})
    expect((await bob.post(`/api/rooms/${id}/messages`, {content: 'x'})).status).toBe(200)
    expect((await ann.post('/api/posts', {title: 'x'})).status).toBe(200)
    const bot = await connectBot(server)
    for (let n = 0; n < 8; n++) {
      expect(await bot.ask('send_message', {roomId: id, content: 'x'})).toMatchObject({ok: true})
    }
  })
})

describe('clientNetwork', () => {
  it('is an IPv4 address, or the first 64 bits of an IPv6 one, however written', () => {
    for (const [network, ...addresses] of [
      ['192.0.2.1', '192.0.2.1', '::ffff:192.0.2.1', '::FFFF:c000:201', '0:0:0:0:0:ffff:c000:0201'],
      [
        '2001:db8:0:1::/64',
        '2001:db8:0:1::',
        '2001:0DB8:0000:0001:0000:0000:0000:0001',
        '2001:db8::1:a:b:c:d',
        '2001:db8:0:1::1%eth0',
      ],
      ['0:0:0:0::/64', '::1', '::', '::1.2.3.4', '0::1'],
      ['fe80:0:0:0::/64', 'fe80::1%en0', 'fe80::'],
      ['64:ff9b:0:0::/64', '64:ff9b::192.0.2.1'],
    ] as const) {
      for (const address of addresses) expect(clientNetwork(address), address).toBe(network)
    }
  })
})

/** Signing up takes one POST, by IP. */
const signUpFrom = async (server: Parameters<typeof signUp>[0], ip: string) => {
  const visitor = visit(server.url)
  const email = newAddress()
  await visitor.post('/api/email/register', {email, password: 'secret one'}, from(ip))
  const link = new URL(await eventually(async () => (await server.links(email))[0]))
  await visitor.get(link.pathname + link.search)
  return visitor
}
