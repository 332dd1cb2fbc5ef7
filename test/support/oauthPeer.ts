import {randomUUID} from 'node:crypto'
import {once} from 'node:events'
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http'
import type {AddressInfo} from 'node:net'
import {text} from 'node:stream/consumers'

export type OauthPeer = {
  url: string
  clientId: string
  clientSecret: string
  /** What the provider says of whoever is asked at the moment. */
  profile: object
  /** `METHOD path` of all that was asked, oldest first. */
  asked: string[]
  userAgents: Set<string | undefined>
  /** Answers instead of the provider where it returns true; for each test to replace. */
  instead: (req: IncomingMessage, res: ServerResponse) => boolean
  stop(): Promise<void>
}

/** Plays Discord and Reddit, both sites of it: authorize → code → token → profile, as strict as they are. */
export const startOauthPeer = async (): Promise<OauthPeer> => {
  const codes = new Map<string, {redirectUri: string; profile: object}>()
  const tokens = new Map<string, object>()

  const json = (res: ServerResponse, status: number, body: unknown) => {
    res.writeHead(status, {'content-type': 'application/json'}).end(JSON.stringify(body))
  }

  const authorize = ({searchParams: query}: URL, res: ServerResponse) => {
    const redirectUri = query.get('redirect_uri')
    const isRight = query.get('client_id') === peer.clientId && query.get('response_type') === 'code'
    if (!isRight || !redirectUri) return json(res, 400, {error: 'invalid_request'})
    const code = randomUUID()
    codes.set(code, {redirectUri, profile: peer.profile})
    const back = new URL(redirectUri)
    back.searchParams.set('code', code)
    back.searchParams.set('state', query.get('state') ?? '')
    res.writeHead(302, {location: back.href}).end()
  }

  const token = async (req: IncomingMessage, res: ServerResponse, isReddit: boolean) => {
    const form = new URLSearchParams(await text(req))
    const basic = `Basic ${Buffer.from(`${peer.clientId}:${peer.clientSecret}`).toString('base64')}`
    const isClient = isReddit
      ? req.headers.authorization === basic
      : form.get('client_id') === peer.clientId && form.get('client_secret') === peer.clientSecret
    if (!isClient) return json(res, 401, {error: 'invalid_client'})
    const code = codes.get(form.get('code') ?? '')
    codes.delete(form.get('code') ?? '')
    const isRight = form.get('grant_type') === 'authorization_code' && code?.redirectUri === form.get('redirect_uri')
    // Reddit refuses with status 200.
    if (!code || !isRight) return json(res, isReddit ? 200 : 400, {error: 'invalid_grant'})
    const accessToken = randomUUID()
    tokens.set(`Bearer ${accessToken}`, code.profile)
    json(res, 200, {access_token: accessToken, token_type: 'Bearer', expires_in: 3600, scope: 'identify email'})
  }

  const server = createServer((req, res) => {
    const url = new URL(req.url!, 'http://peer')
    peer.asked.push(`${req.method} ${url.pathname}`)
    if (!url.pathname.endsWith('authorize')) peer.userAgents.add(req.headers['user-agent'])
    if (peer.instead(req, res)) return
    switch (`${req.method} ${url.pathname}`) {
      case 'GET /api/oauth2/authorize':
      case 'GET /api/v1/authorize':
        return authorize(url, res)
      case 'POST /api/oauth2/token':
        return void token(req, res, false)
      case 'POST /api/v1/access_token':
        return void token(req, res, true)
      case 'GET /api/users/@me':
      case 'GET /api/v1/me': {
        const profile = tokens.get(req.headers.authorization ?? '')
        return profile ? json(res, 200, profile) : json(res, 401, {message: '401: Unauthorized'})
      }
      default:
        return json(res, 404, {})
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const peer: OauthPeer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    clientId: 'the-client',
    clientSecret: 'the-secret',
    profile: {},
    asked: [],
    userAgents: new Set(),
    instead: () => false,
    stop: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
  return peer
}
