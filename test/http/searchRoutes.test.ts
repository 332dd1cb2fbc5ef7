import {Client} from 'pg'
import {beforeAll, describe, expect, it} from 'vitest'
import {readGenerations, targetOf} from '../../src/projections/generations.ts'
import {queryOf, search, searchStatement} from '../../src/projections/search.ts'
import {eventually} from '../support/eventually.ts'
import {roomOf} from '../support/rooms.ts'
import {type Person, type Reply, signUp, startServer, type Visitor, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

type Result = {kind: 'post' | 'message'; post: {title: string}; message: {content: string}; roomName: string}
const next = ({headers}: Reply): string | null => /^<([^>]+)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1] ?? null
/** What is found, each by its title or content. */
const found = ({status, body}: Reply): string[] => {
  expect(status).toBe(200)
  return body.results.map(({kind, post, message}: Result) => (kind === 'post' ? post.title : message.content))
}
const look = async (who: Visitor, q: string, rest = ''): Promise<string[]> =>
  found(await who.get(`/api/search?q=${encodeURIComponent(q)}${rest}`))

const server = sharedServer()
let ann: Person
let bob: Person
let anybody: Visitor
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann'})
  bob = await signUp(server(), {username: 'Bob'})
  anybody = visit(server().url)
})

const write = async (who: Person, title: string, body = ''): Promise<void> => {
  expect((await who.post('/api/posts', {title, body})).status).toBe(200)
}
const say = async (who: Person, roomId: string, content: string) =>
  (await who.post(`/api/rooms/${roomId}/messages`, {content})).body.message

describe('search', () => {
  it('finds posts for everybody, each as the list shows it', async () => {
    const {post} = (
      await ann.post('/api/posts', {title: 'Sourdough', body: 'with rye', attachments: ['https://example.com/a']})
    ).body
    for (const q of ['sourdough', 'RYE', 'rye sourdough', 'sour', '"with rye"']) {
      const reply = await anybody.get(`/api/search?q=${encodeURIComponent(q)}`)
      expect(reply.body).toEqual({ok: true, results: [{kind: 'post', post}]})
      expect(next(reply)).toBeNull()
    }
    for (const q of ['sourdoughs', 'rye wheat', '"rye with"', 'ourdough', 'r sourdough'])
      expect(await look(anybody, q)).toEqual([])
  })

  it('finds messages of the rooms that one is in when one asks, and a bot those of all', async () => {
    const roomId = await roomOf(ann, bob)
    const message = await say(ann, roomId, 'the teapot is blue')
    const results = [{kind: 'message', message, roomName: 'A room'}]
    const ask = async (who: Visitor, headers = {}) => (await who.get('/api/search?q=teapot', headers)).body.results
    expect(await ask(ann)).toEqual(results)
    expect(await ask(bob)).toEqual(results)
    expect(await ask(anybody)).toEqual([])
    expect(await ask(await signUp(server()))).toEqual([])
    const token = {authorization: `Bearer ${server().env.CHAT_BOT_TOKEN}`}
    expect(await ask(anybody, token)).toEqual(results)
    await bob.post(`/api/rooms/${roomId}/leave`)
    expect(await ask(bob)).toEqual([])
    await bob.post(`/api/rooms/${roomId}/join`)
    expect(await ask(bob)).toEqual(results)
    const wrong = await anybody.get('/api/search?q=teapot', {authorization: 'Bearer wrong'})
    expect([wrong.status, wrong.body.code]).toEqual([401, 'NOT_SIGNED_IN'])
  })

  it('ranks titles before texts, and of what matches as well the newest first', async () => {
    await write(ann, 'marmot', 'it is in the title')
    await write(ann, 'first', 'a marmot in the text')
    await write(ann, 'second', 'a marmot in the text')
    await write(ann, 'both', 'a marmot, a marmot in the text')
    expect(await look(anybody, 'marmot')).toEqual(['marmot', 'both', 'second', 'first'])
  })

  it('takes phrases, words that are not to be there, and one or the other', async () => {
    await write(ann, 'walnut bread and butter')
    await write(ann, 'walnut butter and bread')
    await write(ann, 'walnut cake')
    await write(ann, 'hazelnut cake')
    expect(await look(anybody, 'walnut "bread and butter"')).toEqual(['walnut bread and butter'])
    expect(await look(anybody, 'walnut -bread')).toEqual(['walnut cake'])
    expect(await look(anybody, 'walnut -"butter and bread" bread')).toEqual(['walnut bread and butter'])
    expect((await look(anybody, 'hazelnut or walnut -butter')).sort()).toEqual(['hazelnut cake', 'walnut cake'])
    expect(await look(anybody, 'hazelnut or')).toEqual([])
    // The last word may go on, a finished or quoted one not.
    expect(await look(anybody, 'hazel')).toEqual(['hazelnut cake'])
    for (const q of ['hazel ', '"hazel"', 'hazel cake']) expect(await look(anybody, q)).toEqual([])
  })

  it.each([
    ['東京都庁へ行く', ['東京', '京都庁', '庁', '都庁へ行', '行く'], ['東庁', '京東', '行う']],
    ['今日はiPhoneを買う', ['iphone', '今日 買う', 'はiphoneを'], ['iphoneは']],
    ['ｶﾀｶﾅ ラーメン', ['カタカナ', 'ラーメン', 'メン'], ['カメン']],
    ['สวัสดีครับ', ['สวัสดี', 'ครับ'], ['สวี']],
    ['한국어 검색', ['한국', '검색', '한국어'], ['국어']],
    ['Über die Straße', ['uber', 'STRASSE', 'ÜBER strass'], ['strase']],
    ['Œuvre: l’été à Zürich', ['l’été', "l'ete", 'zurich'], ['etes']],
    ['Ёжик в тумане', ['ёжик', 'ЕЖИК', 'туман'], ['ежики']],
    ['Οδός Αθηνάς', ['ΟΔΟΣ', 'αθηνα'], ['οδοι']],
    ['مُحَمَّد', ['محمد'], ['حمد']],
    ['we party 🎉 tonight', ['🎉', 'party 🎉'], ['🎂']],
    ['mail a.b@example.org about v1.2.3-rc', ['a.b@example.org', 'v1.2.3', 'example.org'], ['b.a@example.org', 'v1.3']],
    [`O'Brien said 'x':1A & \\ | !`, ["o'brien", "'x':1A"], ["brien'o"]],
  ])('finds in %s', async (title, there, notThere) => {
    await write(ann, title)
    for (const q of there) expect(await look(anybody, q), q).toContain(title)
    for (const q of notThere) expect(await look(anybody, q), q).not.toContain(title)
  })

  it('finds nothing where there is nothing to look for, and takes whatever is typed', async () => {
    for (const q of [
      '!',
      '-',
      '""',
      '-walnut',
      "'",
      '\\',
      "a'b:*",
      ':* & | <-> !',
      '(((',
      'a:1 <2> b',
      "''''",
      '%',
      'or',
      '-or-',
      'x'.repeat(200),
      '㍿'.repeat(200),
      '"',
      '"un finished',
    ])
      expect(Array.isArray(await look(anybody, q)), q).toBe(true)
    for (const q of ['!', '-', '""', '-walnut']) expect(await look(anybody, q)).toEqual([])
  })

  it.each([
    ['', 'q'],
    ['?q=', 'q'],
    ['?q=%20', 'q'],
    [`?q=${'x'.repeat(201)}`, 'q'],
    ['?q=a%00', 'q'],
    ['?q=a&q=b', 'q'],
    ['?q=a&limit=0', 'limit'],
    ['?q=a&limit=101', 'limit'],
    ['?q=a&cursor=1', 'cursor'],
    ['?q=a&cursor=0.1~9999999999999999999~1', 'cursor'],
    ['?q=a&cursor=NaN~1~1', 'cursor'],
  ])('refuses %s', async (query, path) => {
    const {status, body} = await anybody.get(`/api/search${query}`)
    expect([status, body.code, body.issues[0].path]).toEqual([400, 'INVALID', path])
  })

  it('gives pages that neither skip nor repeat while others write, best first', async () => {
    const roomId = await roomOf(ann)
    const old: string[] = []
    for (let n = 0; n < 12; n++) {
      old.push(`quince ${n}`, `jam ${n}`, `a jar of quince ${n}`)
      await write(ann, `quince ${n}`)
      await write(ann, `jam ${n}`, `${'of '.repeat(n % 3)}quince`)
      await say(ann, roomId, `a jar of quince ${n}`)
    }
    const whole = await look(ann, 'quince', '&limit=50')
    expect(whole.toSorted()).toEqual(old.toSorted())
    const seen: string[] = []
    for (let path: string | null = '/api/search?q=quince&limit=7'; path; ) {
      const [reply]: [Reply, ...unknown[]] = await Promise.all([
        ann.get(path),
        write(bob, `quince quince new ${seen.length}`),
        say(ann, roomId, `quince new ${seen.length}`),
      ])
      seen.push(...found(reply))
      path = next(reply)
    }
    expect(seen.filter((one) => !one.includes('new'))).toEqual(whole)
    expect(new Set(seen).size).toBe(seen.length)
    const full = await ann.get(`/api/search?q=jam&limit=12`)
    expect([found(full).length, next(full)]).toEqual([12, null])
  })

  it('ends a page at 4 MiB', async () => {
    const urls = Array.from({length: 10}, (_, n) => `https://example.com/${n}/${'x'.repeat(20_000)}`)
    for (const [n, body] of ['\u0001'.repeat(40_000), 'x'].flatMap((one) => Array(20).fill(one)).entries())
      expect((await ann.post('/api/posts', {title: `bulky ${n}`, body, attachments: urls})).status).toBe(200)
    const titles: string[] = []
    let pages = 0
    for (let path: string | null = '/api/search?q=bulky&limit=100'; path; pages++) {
      const reply: Reply = await anybody.get(path)
      expect(reply.text.length).toBeLessThan(4.3 * 1024 * 1024)
      titles.push(...found(reply))
      path = next(reply)
    }
    expect(pages).toBeGreaterThan(2)
    expect(titles.toSorted()).toEqual(Array.from({length: 40}, (_, n) => `bulky ${n}`).toSorted())
  })

  it('takes a post of any letters as long as it may be', async () => {
    const words = Array.from({length: 6_000}, (_, n) => `${n.toString(36)}ﷺ`)
      .join(' ')
      .slice(0, 40_000)
    const characters = Array.from(
      {length: 20_000},
      (_, n) => String.fromCodePoint(0x20000 + n) + String.fromCodePoint(0x4e00 + ((n * 7) % 20_000)),
    ).join('')
    for (const body of [
      words,
      '㌖'.repeat(40_000),
      'ﷺ'.repeat(40_000),
      characters,
      'x'.repeat(40_000),
      'é'.repeat(40_000),
    ]) {
      await write(ann, 'enormous', body)
    }
    expect(await look(anybody, 'enormous')).toHaveLength(6)
    expect((await anybody.get('/readyz')).status).toBe(200)
  })

  it('shows whoever wrote something at once, and nothing of who is erased', async () => {
    const eve = await signUp(server(), {username: 'Eve'})
    const roomId = await roomOf(ann, eve)
    await write(eve, 'persimmon post')
    await say(eve, roomId, 'persimmon message')
    expect((await look(eve, 'persimmon')).sort()).toEqual(['persimmon message', 'persimmon post'])
    expect((await look(ann, 'persimmon')).sort()).toEqual(['persimmon message', 'persimmon post'])
    expect((await eve.request('DELETE', '/api/me', {password: 'secret one'})).status).toBe(200)
    await eventually(async () => (await look(ann, 'persimmon')).length === 0)
    const client = new Client({connectionString: server().databaseUrl})
    await client.connect()
    const {rows} = await client.query(`SELECT words::text FROM ${search.view}`)
    await client.end()
    expect(JSON.stringify(rows)).toContain('teapot')
    expect(JSON.stringify(rows)).not.toContain('persimmon')
  })

  it('uses the index of words where they are rare, and reads the whole table for nobody', async () => {
    const own = await startServer()
    const client = new Client({connectionString: own.databaseUrl})
    await client.connect()
    const [live] = await readGenerations(client as never, [search])
    await client.query(`INSERT INTO ${targetOf(live!)} SELECT 1000 + n, CASE WHEN n % 10 = 0 THEN '' ELSE 'r-' || n % 50 END, n, 'x',
      ('common:1 word' || n || ':2')::tsvector FROM generate_series(1, 20000) n`)
    await client.query(`ANALYZE ${targetOf(live!)}`)
    const plan = async (q: string, reader: Parameters<typeof searchStatement>[1]) => {
      const {text, values} = searchStatement(queryOf(q)!, reader, {after: null, limit: 20, bytes: 1_000_000})
      return (await client.query(`EXPLAIN ${text}`, values)).rows.map((row) => row['QUERY PLAN']).join('\n')
    }
    const person = {userId: 'email_x', isBot: false}
    for (const q of ['"word77"', 'word77', '"common word77"', 'word77 or word78']) {
      expect(await plan(q, {...person, isBot: true})).toMatch(/Bitmap Index Scan on search_v1_g1_1/)
    }
    for (const reader of [null, person, {...person, isBot: true}]) {
      for (const q of ['common', '"word77"', 'word7', 'common word7'])
        expect(await plan(q, reader)).not.toMatch(/Seq Scan on search/)
    }
    await client.end()
  })

  it('finds what it has, without waiting, once its table has stopped', async () => {
    const own = await startServer()
    const writer = await signUp(own)
    const reader = visit(own.url)
    await write(writer, 'before')
    expect(await look(reader, 'before')).toEqual(['before'])
    const client = new Client({connectionString: own.databaseUrl})
    await client.connect()
    const [live] = await readGenerations(client as never, [search])
    await client.query(`ALTER TABLE ${targetOf(live!)} ADD CHECK (position < 0) NOT VALID`)
    await client.end()
    await write(writer, 'after')
    await eventually(async () => (await reader.get('/readyz')).body.projections.search.ok === false)
    const began = performance.now()
    expect(await look(reader, 'before')).toEqual(['before'])
    expect(performance.now() - began).toBeLessThan(500)
    expect(await look(reader, 'after')).toEqual([])
  })
})
