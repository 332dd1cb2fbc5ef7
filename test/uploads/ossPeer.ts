import {createHash, createHmac} from 'node:crypto'
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http'
import type {AddressInfo} from 'node:net'
import {onTestFinished, vi} from 'vitest'

export const OSS = {
  OSS_REGION: 'oss-cn-hangzhou',
  OSS_BUCKET: 'community-test',
  OSS_ACCESS_KEY_ID: 'the-key-id',
  OSS_ACCESS_KEY_SECRET: 'the-key-secret',
}

/**
 * What the peer does with a PUT: `take` it; answer `busy` (503) or `broken` (500, no XML); `forbid` it; `cut` the connection after the
 * first bytes; `lose` the answer of what it has taken; stay `silent`.
 */
export type Play = 'take' | 'forbid' | 'busy' | 'broken' | 'cut' | 'lose' | 'silent'

export type OssPeer = {
  url: string
  env: NodeJS.ProcessEnv
  objects: Map<string, {body: Buffer; headers: IncomingMessage['headers']}>
  /** "PUT community/…", as they came. */
  requests: string[]
  /** Whether everybody may read what lies there, without a signature. */
  isPublic: boolean
  /** For the next PUTs in turn; when it is used up, all are taken. */
  plays: Play[]
}

/** Plays OSS: checks each request's signature (version 4) and keeps objects. Stopped when the test is over. */
export const startOssPeer = async (): Promise<OssPeer> => {
  const peer: OssPeer = {url: '', env: {}, objects: new Map(), requests: [], isPublic: true, plays: []}
  const server = createServer((req, res) => void answer(peer, req, res).catch(() => req.destroy()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  // Below ali-oss, urllib prints a connection that ends twice, as most broken ones do.
  vi.spyOn(console, 'warn').mockImplementation(() => {})
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  peer.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  peer.env = {...OSS, OSS_ENDPOINT: peer.url}
  return peer
}

const answer = async (peer: OssPeer, req: IncomingMessage, res: ServerResponse): Promise<void> => {
  const key = decodeURIComponent(req.url!.slice(1))
  peer.requests.push(`${req.method} ${key}`)
  const found = peer.objects.get(key)
  if (req.method === 'GET' && peer.isPublic && found) return void res.writeHead(200).end(found.body)
  if (!isSigned(req)) {
    req.resume()
    return refuse(res, 403, 'SignatureDoesNotMatch')
  }
  if (req.method === 'DELETE') {
    peer.objects.delete(key)
    return void res.writeHead(204).end()
  }
  if (req.method !== 'PUT') return refuse(res, 405, 'MethodNotAllowed')
  const play = peer.plays.shift() ?? 'take'
  if (play === 'cut') return void req.once('data', () => req.socket.resetAndDestroy())
  const chunks: Buffer[] = []
  for await (const part of req) chunks.push(part)
  if (play === 'silent') return
  if (play === 'forbid') return refuse(res, 403, 'AccessDenied')
  if (play === 'busy') return refuse(res, 503, 'ServiceUnavailable')
  if (play === 'broken') return void res.writeHead(500).end()
  peer.objects.set(key, {body: Buffer.concat(chunks), headers: req.headers})
  if (play === 'lose') return void req.socket.resetAndDestroy()
  res.writeHead(200, {etag: '"x"'}).end()
}

const refuse = (res: ServerResponse, status: number, code: string): void => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code}.</Message></Error>`
  res.writeHead(status, {'content-type': 'application/xml'}).end(xml)
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** As Alibaba Cloud's "Include a V4 signature in the Authorization header" tells; the bucket stands in the Host header. */
const isSigned = (req: IncomingMessage): boolean => {
  const {headers} = req
  const bucket = headers.host?.split('.')[0]
  if (bucket !== OSS.OSS_BUCKET) return false
  const time = String(headers['x-oss-date'])
  const scope = `${time.slice(0, 8)}/cn-hangzhou/oss/aliyun_v4_request`
  const signed = Object.keys(headers).filter((name) => /^(content-type|content-md5|x-oss-.*)$/.test(name))
  const canonical = [
    req.method,
    `/${bucket}${req.url}`,
    '',
    ...signed.sort().map((name) => `${name}:${headers[name]}`),
    '',
    '',
    headers['x-oss-content-sha256'],
  ].join('\n')
  const toSign = ['OSS4-HMAC-SHA256', time, scope, createHash('sha256').update(canonical).digest('hex')].join('\n')
  const key = scope.split('/').reduce<Buffer | string>(hmac, `aliyun_v4${OSS.OSS_ACCESS_KEY_SECRET}`)
  const signature = hmac(key, toSign).toString('hex')
  return (
    headers.authorization === `OSS4-HMAC-SHA256 Credential=${OSS.OSS_ACCESS_KEY_ID}/${scope},Signature=${signature}`
  )
}
