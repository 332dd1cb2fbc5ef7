import {describe, expect, it, onTestFinished} from 'vitest'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'
import {connect, type Reply, signUp, startServer, visit} from '../support/server.ts'
import {throughProxy} from '../support/tcpProxy.ts'

const startBehindProxy = async () => {
  const {proxy, url} = await throughProxy(await createDatabase())
  onTestFinished(() => proxy.close())
  return {proxy, server: await startServer({DATABASE_URL: url, MAILS_PER_IP: '1000'})}
}

const expectUnavailable = ({status, body, text, headers}: Reply) => {
  expect([status, body.code], text).toEqual([503, 'UNAVAILABLE'])
  expect(body).toMatchObject({ok: false, error: expect.stringMatching(/^[A-Z].*\.$/), requestId: expect.any(String)})
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect(text).not.toMatch(/ECONN|postgres|node_modules|127\.0\.0\.1/i)
}

describe('while PostgreSQL is away', () => {
  it('every route that needs it is 503 UNAVAILABLE, and answers again as soon as it is back', async () => {
    const {proxy, server} = await startBehindProxy()
    const ann = await signUp(server)
    const {id} = (await ann.post('/api/rooms', {name: 'x'})).body.room
    const {post} = (await ann.post('/api/posts', {title: 'before'})).body
    const nobody = visit(server.url)

    proxy.shut()
    const replies = await Promise.all([
      ann.get('/api/me'),
      ann.get('/api/posts'),
      nobody.get('/api/posts'),
      nobody.get(`/api/posts/${post.id}`),
      ann.get('/api/rooms'),
      ann.get(`/api/rooms/${id}/messages`),
      ann.post('/api/posts', {title: 'lost'}),
      ann.post('/api/rooms', {name: 'lost'}),
      ann.post(`/api/rooms/${id}/messages`, {content: 'lost'}),
      ann.get('/api/logout'),
      nobody.post('/api/email/login', {email: ann.email, password: 'secret one'}),
      nobody.post('/api/email/register', {email: 'x@example.com', password: 'secret one'}),
      nobody.post('/api/email/resend-verification', {email: ann.email}),
    ])
    for (const reply of replies) expectUnavailable(reply)
    await expect(connect(ann)).rejects.toMatchObject({data: {code: 'UNAVAILABLE'}})
    expect((await nobody.get('/healthz')).body).toEqual({ok: true})
    expect((await nobody.post('/api/posts', '{')).status).toBe(401)
    const ready = await nobody.get('/readyz')
    expect(ready.status).toBe(503)
    expect(Number(ready.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(ready.body).toMatchObject({ok: false, log: {ok: false}, database: {ok: false, error: expect.any(String)}})

    proxy.resume()
    await eventually(async () => (await nobody.get('/readyz')).status === 200)
    expect((await ann.get('/api/me')).body.user.id).toBe(ann.id)
    expect((await ann.get('/api/posts')).body).toEqual([post])
    const again = await ann.post('/api/posts', {title: 'after'})
    expect((await ann.get('/api/posts')).body).toEqual([again.body.post, post])
  })

  it('is noticed also where it does not answer at all', async () => {
    const {proxy, server} = await startBehindProxy()
    const ann = await signUp(server)
    const nobody = visit(server.url)
    proxy.stall()
    const replies = await Promise.all([
      ann.get('/api/me'),
      nobody.get('/api/posts'),
      ann.post('/api/posts', {title: 'x'}),
      nobody.post('/api/email/login', {email: ann.email, password: 'secret one'}),
    ])
    for (const reply of replies) expectUnavailable(reply)
    proxy.resume()
    await eventually(async () => (await nobody.get('/readyz')).status === 200)
    expect((await ann.get('/api/me')).status).toBe(200)
    expect((await ann.post('/api/posts', {title: 'x'})).status).toBe(200)
  })
})
