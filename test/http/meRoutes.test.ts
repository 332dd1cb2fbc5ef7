import {beforeAll, describe, expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {type Person, signUp, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
let ann: Person
beforeAll(async () => {
  ann = await signUp(server(), {username: 'Ann', email: 'Ann@Example.com'})
})

describe('readMe', () => {
  it('says who is signed in, and is for nobody else to keep', async () => {
    const me = await ann.get('/api/me')
    expect(me.body).toEqual({
      ok: true,
      user: {
        id: expect.stringMatching(/^email_[a-z2-7]{26}$/),
        username: 'Ann',
        provider: 'email',
        email: 'ann@example.com',
      },
    })
    expect(me.headers.get('cache-control')).toBe('private, no-cache')
    expect(me.headers.get('etag')).toBeNull()
  })

  it('is NOT_SIGNED_IN without a session', async () => {
    const reply = await visit(server().url).get('/api/me')
    expect([reply.status, reply.body.code]).toEqual([401, 'NOT_SIGNED_IN'])
    expect(reply.headers.getSetCookie()).toEqual([])
  })

  it('gives a username that was not chosen no part of the address', async () => {
    const visitor = visit(server().url)
    const email = 'telling.name@example.com'
    await visitor.post('/api/email/register', {email, password: 'secret one'})
    const {pathname, search} = new URL(await eventually(async () => (await server().links(email))[0]))
    await visitor.get(pathname + search)
    expect((await visitor.get('/api/me')).body.user.username).toMatch(/^member-[a-z2-7]{5}$/)
  })
})

describe('logOut', () => {
  it('ends the session and redirects to /', async () => {
    const person = await signUp(server())
    const kept = new Map(person.cookies)
    const reply = await person.get('/api/logout')
    expect([reply.status, reply.headers.get('location')]).toEqual([302, '/'])
    expect((await person.get('/api/me')).status).toBe(401)
    expect((await visit(server().url, kept).get('/api/me')).status).toBe(401)
  })

  it('redirects whoever was not signed in', async () => {
    const reply = await visit(server().url).get('/api/logout')
    expect([reply.status, reply.headers.get('location')]).toEqual([302, '/'])
  })

  it('is not done by a HEAD', async () => {
    const person = await signUp(server())
    expect((await person.request('HEAD', '/api/logout')).status).toBe(200)
    expect((await person.get('/api/me')).status).toBe(200)
  })
})
