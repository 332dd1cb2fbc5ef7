import {Client} from 'pg'
import {describe, expect, it} from 'vitest'
import {community} from '../support/commandLine.ts'
import {eventually} from '../support/eventually.ts'
import {type Reply, signUp, startServer, type TestServer, visit} from '../support/server.ts'
import {startTwoNodes} from '../support/twoNodes.ts'

const titles = ({body}: Reply): string[] => body.map(({title}: {title: string}) => title)

/** Changes what the table shows behind the server's back, as no event can. */
const tamper = async ({databaseUrl}: TestServer, title: string) => {
  const client = new Client({connectionString: databaseUrl})
  await client.connect()
  await client.query('UPDATE read.posts_v1 SET title = $1', [title])
  await client.end()
}

describe('the first page of posts', () => {
  it('is kept until something changes it: a post, of whatever limit, also for who brings no position', async () => {
    const [here, elsewhere] = await startTwoNodes()
    const ann = await signUp(here)
    const {id: room} = (await ann.post('/api/rooms', {name: 'Kitchen'})).body.room
    const nobody = visit(here.url)
    await ann.post('/api/posts', {title: 'first'})
    expect(titles(await nobody.get('/api/posts'))).toEqual(['first'])
    await tamper(here, 'kept')
    await ann.post(`/api/rooms/${room}/messages`, {content: 'not about posts'})
    expect(titles(await nobody.get('/api/posts'))).toEqual(['first'])
    expect(titles(await nobody.get('/api/posts?limit=1'))).toEqual(['first'])

    for (let n = 0; n < 30; n++) {
      // Readings that began before the post must not be what is given after it.
      const meanwhile = Array.from({length: 5}, () => nobody.get(`/api/posts${n % 2 ? '' : '?limit=3'}`))
      await ann.post('/api/posts', {title: `${n}`})
      expect(titles(await nobody.get('/api/posts'))[0]).toBe(`${n}`)
      expect(titles(await nobody.get('/api/posts?limit=2'))[0]).toBe(`${n}`)
      expect(titles(await visit(elsewhere.url, ann.cookies).get('/api/posts?limit=1'))).toEqual([`${n}`])
      for (const reply of await Promise.all(meanwhile))
        expect([`${n}`, `${n - 1}`, 'first']).toContain(titles(reply)[0])
    }
    const all = await nobody.get('/api/posts')
    expect(titles(all).slice(0, 30)).toEqual(Array.from({length: 30}, (_, n) => `${29 - n}`))
    expect(all.body).toHaveLength(31)
    const same = await nobody.get('/api/posts', {'if-none-match': all.headers.get('etag')!})
    expect([same.status, same.text]).toEqual([304, ''])
    const head = await nobody.request('HEAD', '/api/posts')
    expect([head.text, head.headers.get('content-length')]).toEqual(['', String(Buffer.byteLength(all.text))])
  })

  it('holds nothing of an erased person, on any node', async () => {
    const [here, elsewhere] = await startTwoNodes()
    const ann = await signUp(here)
    const bob = await signUp(here)
    await ann.post('/api/posts', {title: 'of Ann', body: 'her words'})
    await bob.post('/api/posts', {title: 'of Bob'})
    for (const {url} of [here, elsewhere]) expect(titles(await visit(url).get('/api/posts'))).toContain('of Ann')
    const erased = await ann.request('DELETE', '/api/me', {password: 'secret one'})
    expect(erased.status).toBe(200)
    expect(titles(await visit(here.url).get('/api/posts'))).toEqual(['of Bob', '[erased]'])
    await eventually(async () => !(await visit(elsewhere.url).get('/api/posts')).text.includes('her words'), {
      ms: 1_000,
    })
    await bob.post('/api/posts', {title: 'of Bob again'})
    for (const {url} of [here, elsewhere]) {
      const wanted = ['of Bob again', 'of Bob', '[erased]']
      expect(titles(await visit(url, bob.cookies).get('/api/posts'))).toEqual(wanted)
    }
  })

  it('is of the table that is shown: a rebuild and a rollback change it', {timeout: 60_000}, async () => {
    const server = await startServer()
    const ann = await signUp(server)
    await ann.post('/api/posts', {title: 'as it was written'})
    await tamper(server, 'tampered')
    expect(titles(await ann.get('/api/posts'))).toEqual(['tampered'])
    const operate = async (...args: string[]) => {
      const {status, stderr} = await community(server.env, 'projections', ...args)
      expect(status, stderr).toBe(0)
    }
    await operate('rebuild', 'posts')
    expect(titles(await ann.get('/api/posts'))).toEqual(['as it was written'])
    await operate('rollback', 'posts')
    expect(titles(await ann.get('/api/posts'))).toEqual(['tampered'])
  })
})
