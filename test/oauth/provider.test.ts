import {createServer} from 'node:http'
import type {AddressInfo} from 'node:net'
import {afterAll, beforeAll, beforeEach, describe, expect, it} from 'vitest'
import {openDiscord} from '../../src/oauth/discord.ts'
import {type OauthProvider, usernameOf} from '../../src/oauth/provider.ts'
import {openReddit} from '../../src/oauth/reddit.ts'
import {type OauthPeer, startOauthPeer} from '../support/oauthPeer.ts'

const BASE_URL = 'https://community.example.org'
const FAST = 300

let peer: OauthPeer
beforeAll(async () => {
  peer = await startOauthPeer()
})
beforeEach(() => {
  peer.instead = () => false
  peer.asked.length = 0
})
afterAll(() => peer.stop())

const providers = [
  {
    name: 'openDiscord',
    open: (origin = peer.url): OauthProvider =>
      openDiscord({clientId: peer.clientId, clientSecret: peer.clientSecret, origin}, {baseUrl: BASE_URL, ms: FAST}),
    token: '/api/oauth2/token',
    profile: '/api/users/@me',
    somebody: {id: '80351110224678912', username: 'nelly', email: 'Nelly@Example.com', verified: true},
    account: {subject: '80351110224678912', username: 'nelly', email: 'nelly@example.com'},
  },
  {
    name: 'openReddit',
    open: (origin = peer.url): OauthProvider =>
      openReddit(
        {clientId: peer.clientId, clientSecret: peer.clientSecret, origin, apiOrigin: origin},
        {baseUrl: BASE_URL, ms: FAST},
      ),
    token: '/api/v1/access_token',
    profile: '/api/v1/me',
    somebody: {id: 'abc12', name: 'spez_not'},
    account: {subject: 'abc12', username: 'spez_not', email: null},
  },
]

describe.each(providers)('$name', ({open, token, profile, somebody, account}) => {
  const codeFrom = async (provider: OauthProvider): Promise<string> => {
    const asking = await fetch(await provider.authorizeUrl('the state'), {redirect: 'manual'})
    const back = new URL(asking.headers.get('location')!)
    expect(back.origin).toBe(BASE_URL)
    expect(back.searchParams.get('state')).toBe('the state')
    return back.searchParams.get('code')!
  }
  const login = async () => {
    const provider = open()
    return provider.accountOf(await codeFrom(provider))
  }

  beforeEach(() => {
    peer.profile = somebody
  })

  it('asks for the token and the profile at its own addresses, and says who asks', async () => {
    expect(await login()).toEqual(account)
    expect(peer.asked.slice(1)).toEqual([`POST ${token}`, `GET ${profile}`])
    for (const userAgent of peer.userAgents) expect(userAgent).toContain(BASE_URL)
  })

  it('refuses a code that was used', async () => {
    const provider = open()
    const code = await codeFrom(provider)
    await provider.accountOf(code)
    await expect(provider.accountOf(code)).rejects.toThrow()
  })

  it.each([
    ['no id', {}],
    ['an id of another kind', {id: 7}],
    ['an id that is none', {id: 'no id!'}],
    ['a list', []],
  ])('refuses a profile with %s', async (_, answer) => {
    peer.profile = answer
    await expect(login()).rejects.toThrow()
  })

  describe.each([
    ['token', token],
    ['profile', profile],
  ])('where the %s', (_, path) => {
    const misbehaving: [string, Parameters<typeof createServer>[1] & object][] = [
      ['is never answered', () => {}],
      [
        'comes one byte at a time',
        (_, res) => {
          const dripping = setInterval(() => res.write(' '), 20)
          res.on('close', () => clearInterval(dripping))
        },
      ],
      ['is cut off', (_, res) => res.writeHead(200, {'content-length': 100}).write('{', () => res.destroy())],
      ['is not answered but hung up on', (_, res) => res.destroy()],
      ['is HTML', (_, res) => res.end('<html>')],
      ['is null', (_, res) => res.end('null')],
      ['is nothing', (_, res) => res.end()],
      ['is huge', (_, res) => res.end(JSON.stringify({access_token: 'x'.repeat(100_000), id: '1'}))],
      ['is an error', (_, res) => res.writeHead(500).end('{}')],
      ['is elsewhere', (_, res) => res.writeHead(302, {location: '/'}).end()],
      ['would break a header', (_, res) => res.end(JSON.stringify({access_token: 'a\r\nb: c', id: 'a\0'}))],
    ]
    it.each(misbehaving)('%s, fails in time', async (_, answer) => {
      peer.instead = (req, res) => {
        if (!req.url!.startsWith(path)) return false
        answer(req as never, res as never)
        return true
      }
      const began = performance.now()
      await expect(login()).rejects.toThrow()
      expect(performance.now() - began).toBeLessThan(FAST + 2_000)
    })
  })

  it('fails where nobody listens', async () => {
    const nobody = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => nobody.once('listening', resolve))
    const {port} = nobody.address() as AddressInfo
    await new Promise((resolve) => nobody.close(resolve))
    await expect(open(`http://127.0.0.1:${port}`).accountOf('a code')).rejects.toThrow()
  })
})

describe('openDiscord', () => {
  it.each([
    ['that is none', {email: 'not an address'}, null],
    ['that nobody proved to own', {email: 'nelly@example.com', verified: false}, null],
    ['that is missing', {}, null],
    ['that is null', {email: null}, null],
  ])('takes no address %s', async (_, fields, email) => {
    peer.profile = {id: '80351110224678912', username: 'nelly', ...fields}
    const provider = providers[0]!.open()
    const asking = await fetch(await provider.authorizeUrl('s'), {redirect: 'manual'})
    const code = new URL(asking.headers.get('location')!).searchParams.get('code')!
    expect((await provider.accountOf(code)).email).toBe(email)
  })
})

describe('usernameOf', () => {
  it.each([
    ['x'.repeat(60), 'x'.repeat(50)],
    ['\u{1f600}'.repeat(60), '\u{1f600}'.repeat(50)],
    [' Nelly ', ' Nelly '],
  ])('takes %j, cut where it is too long', (name, taken) => {
    expect(usernameOf(name)).toBe(taken)
  })

  it.each([[''], ['  \u200b'], ['a\0b'], ['\ud800'], [7], [null], [undefined]])('takes no name from %j', (name) => {
    expect(usernameOf(name)).toBeNull()
  })
})
