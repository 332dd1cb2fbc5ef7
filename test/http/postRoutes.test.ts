import {beforeAll, describe, expect, it} from 'vitest'
import {type Person, type Reply, signUp, startServer, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

type Post = {id: string; title: string}
const titles = ({body}: Reply): string[] => body.map(({title}: Post) => title)
const next = ({headers}: Reply): string | null => /^<([^>]+)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1] ?? null

const write = async (person: Person, ...names: string[]): Promise<Post[]> => {
  const posts: Post[] = []
  for (const title of names) posts.push((await person.post('/api/posts', {title})).body.post)
  return posts
}

const server = sharedServer()
let ann: Person
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann'})
})

describe('createPost', () => {
  it('answers with the post as the list and its own address show it', async () => {
    const bob = await signUp(server(), {username: 'Bob'})
    const began = Date.now()
    const created = await bob.post('/api/posts', {
      title: ' Hello ',
      body: 'a\nb',
      attachments: ['https://example.com/a.png'],
    })
    expect(created.body).toEqual({
      ok: true,
      post: {
        id: expect.stringMatching(/^u-[a-z2-7]{26}$/),
        author_id: bob.id,
        author_name: 'Bob',
        title: ' Hello ',
        body: 'a\nb',
        attachments: ['https://example.com/a.png'],
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      },
    })
    const {post} = created.body
    expect(Math.abs(Date.parse(post.created_at) - began)).toBeLessThan(10_000)
    expect((await visit(server().url).get(`/api/posts/${post.id}`)).body).toEqual({ok: true, post})
    expect((await visit(server().url).get('/api/posts')).body[0]).toEqual(post)
  })

  it('wants a session or a bot', async () => {
    const refused = await visit(server().url).post('/api/posts', {title: 'x'})
    expect([refused.status, refused.body.code]).toEqual([401, 'NOT_SIGNED_IN'])
    const bot = {authorization: `Bearer ${server().env.CHAT_BOT_TOKEN}`, 'x-bot-id': 'news'}
    const {post} = (await visit(server().url).post('/api/posts', {title: 'x'}, bot)).body
    expect(post).toMatchObject({author_id: 'bot_news', author_name: 'news'})
  })
})

describe('readPost', () => {
  it('does not find what is not there', async () => {
    const reply = await visit(server().url).get('/api/posts/u-nothing')
    expect([reply.status, reply.body.code]).toEqual([404, 'NOT_FOUND'])
  })
})

describe('listPosts', () => {
  it('is a bare array, newest first, for everybody', async () => {
    const own = await startServer()
    const person = await signUp(own)
    const empty = await visit(own.url).get('/api/posts')
    expect([empty.status, empty.body, next(empty)]).toEqual([200, [], null])
    const posts = await write(person, 'first', 'second', 'third')
    const list = await visit(own.url).get('/api/posts')
    expect(list.body).toEqual(posts.reverse())
    expect(list.headers.get('content-type')).toBe('application/json; charset=utf-8')
    expect(next(list)).toBeNull()
  })

  it('gives pages that neither skip nor repeat while posts are written', async () => {
    const own = await startServer()
    const person = await signUp(own)
    const old = Array.from({length: 23}, (_, index) => `old ${index}`)
    await write(person, ...old)
    const seen: string[] = []
    let path: string | null = '/api/posts?limit=5'
    let pages = 0
    while (path) {
      const [reply]: [Reply, unknown] = await Promise.all([
        visit(own.url).get(path),
        write(person, `new ${pages}`, `newer ${pages}`),
      ])
      expect(reply.body.length).toBeLessThanOrEqual(5)
      seen.push(...titles(reply))
      path = next(reply)
      pages++
    }
    expect(seen.filter((title) => title.startsWith('old'))).toEqual(old.reverse())
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen.filter((title) => title.startsWith('new')).length).toBeLessThanOrEqual(2)
  })

  it('has no next page after the last post, also where the page is full', async () => {
    const own = await startServer()
    const person = await signUp(own)
    await write(person, 'a', 'b', 'c', 'd')
    const first = await person.get('/api/posts?limit=2')
    const second = await person.get(next(first)!)
    expect([titles(first), titles(second), next(second)]).toEqual([['d', 'c'], ['b', 'a'], null])
    expect(next(await person.get('/api/posts?limit=4'))).toBeNull()
    expect(titles(await person.get('/api/posts?limit=100'))).toEqual(['d', 'c', 'b', 'a'])
    const past = await person.get('/api/posts?limit=2&cursor=0')
    expect([past.body, next(past)]).toEqual([[], null])
  })

  it('without a query ends at POSTS_UNPAGED_MAX, with a link to the rest', async () => {
    const own = await startServer({POSTS_UNPAGED_MAX: '3'})
    const person = await signUp(own)
    await write(person, 'a', 'b', 'c')
    expect(next(await person.get('/api/posts'))).toBeNull()
    await write(person, 'd', 'e')
    const cut = await person.get('/api/posts')
    expect(titles(cut)).toEqual(['e', 'd', 'c'])
    const rest = await person.get(next(cut)!)
    expect([titles(rest), next(rest)]).toEqual([['b', 'a'], null])
  })

  it('ends at 4 MiB, with a link to the rest, also where more was asked for', async () => {
    const own = await startServer()
    const person = await signUp(own)
    const body = '\u0001'.repeat(40_000)
    const urls = Array.from({length: 10}, (_, index) => `https://example.com/${index}/${'x'.repeat(10_000)}`)
    for (let n = 0; n < 16; n++) {
      const reply = await person.post('/api/posts', {title: `large ${n}`, body, attachments: urls})
      expect(reply.status).toBe(200)
    }
    for (const query of ['', '?limit=100']) {
      const cut = await person.get(`/api/posts${query}`)
      const one = Buffer.byteLength(JSON.stringify(cut.body[0]))
      expect(Buffer.byteLength(cut.text)).toBeLessThanOrEqual(4 * 1024 * 1024)
      expect(Buffer.byteLength(cut.text)).toBeGreaterThan(4 * 1024 * 1024 - one - 10)
      const rest = await person.get(next(cut)!)
      expect([...titles(cut), ...titles(rest)]).toEqual(Array.from({length: 16}, (_, index) => `large ${15 - index}`))
      expect(next(rest)).toBeNull()
    }
  })

  it('is revalidated by its ETag, which every change changes', async () => {
    await write(ann, 'etag')
    const reader = visit(server().url)
    const list = await reader.get('/api/posts')
    const etag = list.headers.get('etag')!
    expect(etag).toMatch(/^"[\w-]+"$/)
    expect(list.headers.get('cache-control')).toBe('no-cache')
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const same = await reader.get('/api/posts', {'if-none-match': known})
      expect([same.status, same.text, same.headers.get('etag')]).toEqual([304, '', etag])
      expect(same.headers.get('cache-control')).toBe('no-cache')
    }
    for (const unknown of ['"other"', etag.slice(1, -1), '', '"', ',,', `"${'x'.repeat(2_000)}"`]) {
      expect((await reader.get('/api/posts', {'if-none-match': unknown})).status).toBe(200)
    }
    const [post] = await write(ann, 'one more')
    const changed = await reader.get('/api/posts', {'if-none-match': etag})
    expect([changed.status, changed.body[0].id]).toEqual([200, post!.id])
    expect(changed.headers.get('etag')).not.toBe(etag)
    expect((await reader.get('/api/posts?limit=1')).headers.get('etag')).not.toBe(changed.headers.get('etag'))
  })

  it('gives a HEAD what a GET would get, without the body', async () => {
    const [head, get] = [
      await visit(server().url).request('HEAD', '/api/posts?limit=1'),
      await visit(server().url).get('/api/posts?limit=1'),
    ]
    expect([head.status, head.text]).toEqual([200, ''])
    for (const name of ['etag', 'link', 'content-type', 'content-length']) {
      expect(head.headers.get(name), name).toBe(get.headers.get(name))
    }
  })
})
