import {once} from 'node:events'
import {mkdir, mkdtemp, readdir, readFile, writeFile} from 'node:fs/promises'
import {request as httpRequest} from 'node:http'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {Client} from 'pg'
import sharp from 'sharp'
import {beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {BOT_TOKEN, connect, type Person, signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'
import {animation, DELAYS, pdf, photo, plain} from '../uploads/images.ts'
import {startOssPeer} from '../uploads/ossPeer.ts'

const MIB_10 = 10_485_760
const KEY = /^community\/\d{4}\/\d{2}\/[0-9a-f-]{36}\.(jpg|png|gif|webp|pdf)$/
const BASE_URL = 'http://community.example.org'

// Like the default, in a folder with a dot.
const dir = join(await mkdtemp(join(tmpdir(), 'uploads-')), '.data', 'uploads')
const server = sharedServer({UPLOAD_DIR: dir, BASE_URL})
let ann: Person
beforeAll(async () => {
  ann = await signUp(server())
})

type Sent = {status: number; body: {ok: boolean; url: string; code?: string; error?: string}; headers: Headers}
type Who = {url: string; cookies?: Map<string, string>}

const send = async (who: Who, init: RequestInit): Promise<Sent> => {
  const cookie = [...(who.cookies ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
  const response = await fetch(new URL('/api/upload', who.url), {
    method: 'POST',
    ...init,
    headers: {...(cookie ? {cookie} : {}), ...init.headers},
  } as RequestInit)
  return {status: response.status, body: (await response.json()) as Sent['body'], headers: response.headers}
}

type Part = [field: string, content: Buffer | string, name?: string, type?: string]

const form = (...parts: Part[]): FormData => {
  const data = new FormData()
  for (const [field, content, name, type = 'application/octet-stream'] of parts) {
    if (typeof content === 'string') data.append(field, content)
    else data.append(field, new Blob([new Uint8Array(content)], {type}), name ?? 'file')
  }
  return data
}

const upload = (content: Buffer, who: Who = ann, name?: string, type?: string) =>
  send(who, {body: form(['file', content, name, type])})

const uploaded = async (content: Buffer): Promise<string> => {
  const {status, body} = await upload(content)
  expect(status, body.error).toBe(200)
  return body.url.slice(`${BASE_URL}/uploads/`.length)
}

const read = (key: string, headers: Record<string, string> = {}, method = 'GET') =>
  fetch(new URL(`/uploads/${key}`, server().url), {method, headers})

const bytesOf = async (key: string): Promise<Buffer> => Buffer.from(await (await read(key)).arrayBuffer())

/** Every file under UPLOAD_DIR. */
const filesIn = async (folder: string): Promise<string[]> =>
  (await readdir(folder, {recursive: true, withFileTypes: true}).catch(() => []))
    .filter((entry) => entry.isFile())
    .map(({parentPath, name}) => join(parentPath, name))
    .sort()

describe('uploadFile', () => {
  it('takes each allowed type by its content, whatever name and type it is sent under', async () => {
    for (const [content, extension, type] of [
      [await plain(20, 10, 'jpeg'), 'jpg', 'image/jpeg'],
      [await plain(20, 10, 'png'), 'png', 'image/png'],
      [await plain(20, 10, 'gif'), 'gif', 'image/gif'],
      [await plain(20, 10, 'webp'), 'webp', 'image/webp'],
      [pdf(1_000), 'pdf', 'application/pdf'],
    ] as const) {
      const {status, body, headers} = await upload(content, ann, '../../evil.html', 'text/html')
      expect({status, ok: body.ok}).toEqual({status: 200, ok: true})
      expect(headers.get('x-log-position')).toMatch(/^\d+$/)
      const key = body.url.slice(`${BASE_URL}/uploads/`.length)
      expect(key).toMatch(KEY)
      expect(key.endsWith(`.${extension}`)).toBe(true)
      expect(key.startsWith(`community/${new Date().toISOString().slice(0, 7).replace('-', '/')}/`)).toBe(true)
      const answer = await read(key)
      expect(answer.headers.get('content-type')).toBe(type)
      if (type === 'application/pdf') expect(Buffer.from(await answer.arrayBuffer()).equals(content)).toBe(true)
    }
  })

  it('takes out where a photo was taken, and shows it upright', async () => {
    const photoOfAnn = await photo('jpeg', {orientation: 6})
    expect(photoOfAnn.toString('latin1')).toContain('Somebody')
    const image = await bytesOf(await uploaded(photoOfAnn))
    const {exif, xmp, orientation, width, height} = await sharp(image).metadata()
    expect({exif, xmp, orientation, width, height}).toEqual({
      exif: undefined,
      xmp: undefined,
      orientation: undefined,
      width: 300,
      height: 400,
    })
    expect(image.toString('latin1')).not.toContain('Somebody')
  })

  it('keeps an animation', async () => {
    for (const format of ['gif', 'webp'] as const) {
      const image = await bytesOf(await uploaded(await animation(format)))
      const {pages, delay, exif} = await sharp(image, {animated: true}).metadata()
      expect({pages, delay, exif}).toEqual({pages: 4, delay: DELAYS, exif: undefined})
    }
  })

  it('takes 10,485,760 bytes and refuses one more, however the body is sent', async () => {
    const whole = pdf(MIB_10)
    expect((await bytesOf(await uploaded(whole))).equals(whole)).toBe(true)
    const before = await filesIn(dir)
    const tooMuch = form(['file', pdf(MIB_10 + 1)])
    const chunked = new Response(tooMuch)
    const type = chunked.headers.get('content-type')!
    for (const reply of [
      await send(ann, {body: tooMuch}),
      await send(ann, {body: chunked.body, headers: {'content-type': type}, duplex: 'half'} as RequestInit),
      await upload(pdf(2 * MIB_10)),
    ]) {
      expect(reply.status).toBe(413)
      expect(reply.body).toMatchObject({ok: false, code: 'TOO_LARGE'})
    }
    expect(await filesIn(dir)).toEqual(before)
  })

  it('refuses a request without a file', async () => {
    const empty = '--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--b--\r\n'
    for (const init of [
      {},
      {body: '{"file":"x"}', headers: {'content-type': 'application/json'}},
      {body: form()},
      {body: form(['file', 'just text'])},
      {body: form(['picture', pdf(100)])},
      {body: empty, headers: {'content-type': 'multipart/form-data; boundary=b'}},
    ]) {
      const {status, body} = await send(ann, init)
      expect({status, code: body.code}, JSON.stringify(init)).toEqual({status: 400, code: 'NO_FILE'})
    }
  })

  it('ignores other fields, before and after the file', async () => {
    const {status, body} = await send(ann, {
      body: form(['title', 'x'.repeat(5_000)], ['file', pdf(100)], ['title', 'x'], ['a[b][]', '']),
    })
    expect({status, body}).toEqual({status: 200, body: {ok: true, url: expect.any(String)}})
  })

  it('refuses more than one file, too many or long fields, and what is no whole form', async () => {
    const before = await filesIn(dir)
    const part = `--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n${pdf(100)}`
    const boundary = {'content-type': 'multipart/form-data; boundary=b'}
    for (const init of [
      {body: form(['file', pdf(100)], ['file', pdf(100)])},
      {body: form(['title', 'x'.repeat(20_000)], ['file', pdf(100)])},
      {body: form(...Array.from({length: 51}, (_, index): Part => [`f${index}`, 'x']))},
      {body: `${part}\r\n--b--\r\n`, headers: {'content-type': 'multipart/form-data'}},
      {body: `${part}\r\n--b--\r\n`, headers: {'content-type': 'multipart/mixed; boundary=b'}},
      {body: part, headers: boundary},
      {body: `--b\r\nContent-Disposition: form-data; name="file"; filename="a"`, headers: boundary},
      {body: 'nothing of the kind', headers: boundary},
    ]) {
      const {status, body} = await send(ann, init)
      expect({status, code: body.code}, String(init.body).slice(0, 200)).toEqual({status: 400, code: 'INVALID'})
      expect(body.error).toContain('"file" must')
    }
    expect(await filesIn(dir)).toEqual(before)
  })

  it('refuses other types, also under an allowed name', async () => {
    const svg = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    for (const content of [
      '',
      'x',
      svg,
      '<!doctype html><script>alert(1)</script>',
      '\u007fELF\u0002',
      'BM\0\0\0\0\0\0',
      await sharp(await plain(20, 10, 'png'))
        .tiff()
        .toBuffer(),
    ]) {
      const {status, body} = await upload(Buffer.from(content), ann, 'cat.png', 'image/png')
      expect({status, code: body.code}).toEqual({status: 400, code: 'TYPE_NOT_ALLOWED'})
    }
  })

  it('refuses a damaged picture, and one of more than 50 megapixels', async () => {
    const before = await filesIn(dir)
    const cut = await upload((await photo('jpeg')).subarray(0, -100))
    expect(cut).toMatchObject({status: 400, body: {code: 'INVALID', error: expect.stringContaining('is damaged')}})
    const bomb = await upload(await plain(8_000, 7_000, 'jpeg'))
    expect(bomb).toMatchObject({status: 413, body: {code: 'TOO_LARGE', error: expect.stringContaining('megapixels')}})
    expect(await filesIn(dir)).toEqual(before)
  })

  it('is for people who are signed in, and for bots', async () => {
    const file = pdf(100)
    expect(await upload(file, visit(server().url))).toMatchObject({status: 401, body: {code: 'NOT_SIGNED_IN'}})
    const headers = {authorization: `Bearer ${BOT_TOKEN}`, 'x-bot-id': 'printer'}
    expect(await send({url: server().url}, {body: form(['file', file]), headers})).toMatchObject({status: 200})
    const foreign = await send(ann, {body: form(['file', file]), headers: {origin: 'http://evil.example'}})
    expect(foreign).toMatchObject({status: 403, body: {code: 'CROSS_SITE'}})
  })

  it('leaves nothing of an upload that the client breaks off', async () => {
    const before = await filesIn(dir)
    for (const bytes of [0, 10, 500, 100_000, 5_000_000]) {
      const request = httpRequest(new URL('/api/upload', server().url), {
        method: 'POST',
        headers: {
          cookie: [...ann.cookies].map(([name, value]) => `${name}=${value}`).join('; '),
          'content-type': 'multipart/form-data; boundary=b',
          'content-length': 6_000_000,
        },
      })
      request.on('error', () => {})
      request.write('--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n')
      if (bytes > 0) request.write(pdf(Math.max(bytes, 10)).subarray(0, bytes))
      if (bytes > 10)
        await eventually(async () => (await filesIn(dir)).length > before.length, {what: 'a file to begin'})
      const closed = new Promise((resolve) => request.on('close', resolve))
      request.destroy()
      await closed
      await eventually(async () => (await readdir(join(dir, '.incoming'))).length === 0, {what: 'no file on its way'})
    }
    expect(await filesIn(dir)).toEqual(before)
    expect(server().logged.filter((line) => /"level":(50|60)/.test(line))).toEqual([])
  })

  it('counts as a write', async () => {
    const limited = await startServer({UPLOAD_DIR: dir, WRITES_PER_MINUTE: '3'})
    const bob = await signUp(limited)
    const statuses = []
    for (let count = 0; count < 4; count++) statuses.push((await upload(pdf(100), bob)).status)
    expect(statuses).toEqual([200, 200, 200, 429])
  })

  it('is not there where neither OSS nor a folder is configured', async () => {
    const without = await startServer()
    const bob = await signUp(without)
    expect(await upload(pdf(100), bob)).toMatchObject({status: 503, body: {code: 'UPLOAD_NOT_CONFIGURED'}})
    expect((await visit(without.url).get('/uploads/community/2025/11/x.png')).body.code).toBe('NOT_FOUND')
  })

  it('puts it into the bucket where OSS is configured, and says so where OSS does not take it', async () => {
    const peer = await startOssPeer()
    const withOss = await startServer(peer.env)
    const bob = await signUp(withOss)
    const {status, body} = await upload(await photo('png'), bob)
    expect(status).toBe(200)
    const key = body.url.slice(`${peer.url}/`.length)
    expect(key).toMatch(KEY)
    expect(peer.requests).toEqual([`PUT ${key}`])
    expect(peer.objects.get(key)!.headers['content-type']).toBe('image/png')
    expect((await sharp(peer.objects.get(key)!.body).metadata()).exif).toBeUndefined()
    expect(await filesIn(join(withOss.dataDir, 'incoming'))).toEqual([])

    const post = await bob.post('/api/posts', {title: 'x', attachments: [body.url]})
    expect(post.body.post.attachments).toEqual([body.url])
    expect(await storedAttachments(withOss, post.body.post.id)).toEqual([`upload:${key}`])

    peer.plays.push('forbid')
    const reply = await upload(pdf(100), bob)
    expect(reply).toMatchObject({status: 503, body: {code: 'UNAVAILABLE'}})
    expect(reply.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(withOss.logged.join('')).toContain('AccessDenied')
    expect([...peer.objects.keys()]).toEqual([key])
  })
})

/** What the table of posts, a fold of the log alone, holds. */
const storedAttachments = async (of: TestServer, postId: string): Promise<string[]> => {
  const client = new Client({connectionString: of.databaseUrl})
  await client.connect()
  try {
    const {rows: views} = await client.query<{name: string}>(
      `SELECT viewname AS name FROM pg_views WHERE schemaname = 'read' AND viewname LIKE 'posts%'`,
    )
    const {rows} = await client.query(`SELECT attachments FROM read.${views[0]!.name} WHERE id = $1`, [postId])
    return rows[0].attachments
  } finally {
    await client.end()
  }
}

describe('readUpload', () => {
  let png: string
  let content: Buffer
  beforeAll(async () => {
    png = await uploaded(await photo('png'))
    content = await readFile(join(dir, png))
  })

  it('shows a picture and can do nothing else', async () => {
    const answer = await read(png)
    expect(answer.status).toBe(200)
    expect(Buffer.from(await answer.arrayBuffer()).equals(content)).toBe(true)
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(content.length),
      'content-disposition': 'inline',
      'content-security-policy': "default-src 'none'; sandbox",
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'cross-origin',
      'cache-control': 'public, max-age=31536000, immutable',
      'accept-ranges': 'bytes',
      etag: `"${png}"`,
    })
    expect((await read(await uploaded(pdf(100)))).headers.get('content-disposition')).toBe('attachment')
  })

  it('answers ranges and conditions', async () => {
    const etag = `"${png}"`
    const part = await read(png, {range: 'bytes=10-19', 'if-range': etag})
    expect([part.status, part.headers.get('content-range')]).toEqual([206, `bytes 10-19/${content.length}`])
    expect(Buffer.from(await part.arrayBuffer()).equals(content.subarray(10, 20))).toBe(true)
    expect((await read(png, {range: 'bytes=10-19', 'if-range': '"another"'})).status).toBe(200)
    expect((await read(png, {'if-none-match': etag, 'cache-control': 'max-age=0'})).status).toBe(304)
    const past = await read(png, {range: `bytes=${content.length}-`})
    expect([past.status, past.headers.get('content-range')]).toEqual([416, `bytes */${content.length}`])
    expect((await read(png, {'if-match': '"another"'})).status).toBe(412)
    const head = await read(png, {}, 'HEAD')
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(content.length)])
  })

  it('gives no other file, no folder and nothing that is on its way', async () => {
    await mkdir(join(dir, '.incoming', 'file-x'), {recursive: true})
    for (const name of ['.incoming/file-x/received', 'community/secret.txt', `${png}.part`, `${png.slice(0, -3)}PNG`]) {
      await writeFile(join(dir, name), 'secret')
    }
    const month = png.slice(0, 'community/yyyy/mm'.length)
    for (const path of [
      '',
      'community',
      'community/',
      month,
      `${month}/`,
      '.incoming/file-x/received',
      'community/secret.txt',
      `${png}.part`,
      `${png.slice(0, -3)}PNG`,
      `${png}/`,
      `${month}/../../community/secret.txt`,
      `${month}/..%2f..%2f..%2fcommunity%2fsecret.txt`,
      `%2e%2e/${dir.split('/').at(-1)}/community/secret.txt`,
      '..%5c..%5cetc%5cpasswd',
      '%00',
      '%ff',
      png.replace(/[0-9a-f]{8}/, '00000000'),
    ]) {
      // As it is written: fetch would resolve the dots.
      const request = httpRequest(server().url, {path: `/uploads/${path}`}).end()
      const [answer] = await once(request, 'response')
      let text = ''
      for await (const chunk of answer) text += chunk
      expect([400, 404], path).toContain(answer.statusCode)
      expect(JSON.parse(text).ok, path).toBe(false)
      expect(answer.headers['cache-control'], path).toBe('no-store')
    }
  })
})

describe('openUploadUrls', () => {
  it('keeps the key of an own upload in the post, and builds its URL for each answer', async () => {
    const own = await startServer({UPLOAD_DIR: dir, BASE_URL})
    const bob = await signUp(own)
    const socket = await connect(bob)
    const {url} = (await upload(pdf(100), bob)).body
    const key = url.slice(`${BASE_URL}/uploads/`.length)
    const others = [
      'https://example.org/uploads/x.png',
      `${BASE_URL}/uploads/../x.png`,
      `https://example.org/uploads/${key}`,
    ]
    const {post} = (await bob.post('/api/posts', {title: 'x', attachments: [url, `/uploads/${key}`, ...others]})).body
    expect(post.attachments).toEqual([url, url, ...others])
    expect(await storedAttachments(own, post.id)).toEqual([`upload:${key}`, `upload:${key}`, ...others])
    await eventually(() => socket.received.some(({name}) => name === 'post'))
    expect(socket.received.find(({name}) => name === 'post')!.args[0]).toMatchObject({attachments: post.attachments})

    await own.stop()
    const moved = await startServer({...own.env, BASE_URL: 'http://moved.example.org'})
    const there = [`http://moved.example.org/uploads/${key}`, `http://moved.example.org/uploads/${key}`, ...others]
    expect((await visit(moved.url).get(`/api/posts/${post.id}`)).body.post.attachments).toEqual(there)
    expect((await visit(moved.url).get('/api/posts')).body[0].attachments).toEqual(there)
  })

  it('refuses what is neither a URL nor that of an own upload', async () => {
    const key = 'community/2025/11/0b7d2c5e-8b4f-4d3c-9a55-2f1d1a3c4b5e.png'
    for (const attachment of [`upload:${key}`, key, `/uploads/../${key}`, '/uploads/x.png', `//uploads/${key}`, 'x']) {
      const {status, body} = await ann.post('/api/posts', {title: 'x', attachments: [attachment]})
      expect({status, code: body.code}, attachment).toEqual({status: 400, code: 'INVALID'})
    }
    // Whether it is there, and whose it is, is not asked.
    const {body} = await ann.post('/api/posts', {title: 'x', attachments: [`/uploads/${key}`]})
    expect(body.post.attachments).toEqual([`${BASE_URL}/uploads/${key}`])
  })
})
