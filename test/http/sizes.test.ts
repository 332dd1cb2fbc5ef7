import {beforeAll, describe, expect, it} from 'vitest'
import {type Person, type Reply, signUp, visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
let ann: Person
let roomId: string
beforeAll(async () => {
  ann = await signUp(server())
  roomId = (await ann.post('/api/rooms', {name: 'Lobby'})).body.room.id
})

/** Four bytes of UTF-8, two units of UTF-16, one character. */
const ASTRAL = '😀'
const INVISIBLE = [
  '',
  ' ',
  '\t\n',
  '\u00a0\u2003',
  '\u200b',
  '\u200d\ufeff',
  '\u2028',
  '\u202e',
  '\u3164',
  '\ufe0f',
  '\u0007',
]

const expectRefused = (reply: Reply, field: string, message: string) => {
  expect(reply.status, reply.text).toBe(400)
  expect(reply.body).toMatchObject({ok: false, code: 'INVALID', issues: [{path: field, message}]})
  expect(reply.body.error).toContain(`"${field}" ${message}.`)
}

type Post = (text: string) => Promise<Reply>

/** From 1 to `max` characters, whatever they are, and stored as they came. */
const holdsText = async (post: Post, read: (reply: Reply) => string, field: string, max: number) => {
  for (const right of [
    'x',
    'x'.repeat(max),
    ASTRAL.repeat(max),
    `é${ASTRAL}`,
    ' not trimmed\n',
    `${'\u0301'.repeat(max - 1)}a`,
  ]) {
    const reply = await post(right)
    expect(reply.status, reply.text).toBe(200)
    expect(read(reply)).toBe(right)
  }
  for (const long of ['x'.repeat(max + 1), ASTRAL.repeat(max + 1), `${ASTRAL.repeat(max)}x`, `${' '.repeat(max)}x`]) {
    expectRefused(await post(long), field, `must have at most ${max} characters`)
  }
  for (const blank of INVISIBLE) expectRefused(await post(blank), field, 'must not be blank')
}

describe('a title', () => {
  it('has 1 to 200 characters', () =>
    holdsText(
      (title) => ann.post('/api/posts', {title}),
      ({body}) => body.post.title,
      'title',
      200,
    ))
})

describe("a room's name", () => {
  it('has 1 to 100 characters', () =>
    holdsText(
      (name) => ann.post('/api/rooms', {name}),
      ({body}) => body.room.name,
      'name',
      100,
    ))
})

describe('a message', () => {
  it('has 1 to 4,000 characters', () =>
    holdsText(
      (content) => ann.post(`/api/rooms/${roomId}/messages`, {content}),
      ({body}) => body.message.content,
      'content',
      4_000,
    ))

  it('may bear a nonce of 1 to 64 characters', async () => {
    const send = (nonce: string) => ann.post(`/api/rooms/${roomId}/messages`, {content: 'x', nonce})
    for (const right of ['n', 'n'.repeat(64), ASTRAL.repeat(64)]) expect((await send(right)).status).toBe(200)
    expectRefused(await send('n'.repeat(65)), 'nonce', 'must have at most 64 characters')
    expectRefused(await send(''), 'nonce', 'must not be blank')
  })
})

describe('a username', () => {
  it('has 1 to 50 characters', async () => {
    let people = 0
    const register = (username: string) =>
      visit(server().url).post('/api/email/register', {
        email: `sized${++people}@example.com`,
        password: 'secret one',
        username,
      })
    for (const username of ['x'.repeat(50), ASTRAL.repeat(50), ' \u00e9 ']) {
      const email = `named${++people}@example.com`
      const person = await signUp(server(), {username, email})
      expect((await person.get('/api/me')).body.user.username).toBe(username)
    }
    for (const long of ['x'.repeat(51), ASTRAL.repeat(51)]) {
      expectRefused(await register(long), 'username', 'must have at most 50 characters')
    }
    for (const blank of INVISIBLE) expectRefused(await register(blank), 'username', 'must not be blank')
  })
})

describe('a password', () => {
  it('has at least 6 characters and at most 72 bytes', async () => {
    let people = 0
    const register = (password: string) =>
      visit(server().url).post('/api/email/register', {email: `secret${++people}@example.com`, password})
    for (const right of ['123456', '      ', ASTRAL.repeat(6), 'x'.repeat(72), ASTRAL.repeat(18), 'é'.repeat(36)]) {
      expect((await register(right)).status).toBe(200)
    }
    for (const short of ['', '12345', ASTRAL.repeat(5)]) {
      expectRefused(await register(short), 'password', 'must have at least 6 characters')
    }
    for (const long of ['x'.repeat(73), `${ASTRAL.repeat(18)}x`, 'é'.repeat(37)]) {
      expectRefused(await register(long), 'password', 'must have at most 72 bytes')
    }
  })

  it('counts to its last byte and is not trimmed', async () => {
    const password = ` ${'x'.repeat(70)} `
    const {email} = await signUp(server(), {password})
    const visitor = visit(server().url)
    const logIn = (given: string) => visitor.post('/api/email/login', {email, password: given})
    expect((await logIn(password)).status).toBe(200)
    for (const wrong of [`${password.slice(0, 71)}y`, password.trim(), `${password}x`, password.slice(0, 71)]) {
      expect((await logIn(wrong)).body.code).toBe('WRONG_CREDENTIALS')
    }
  })
})

describe("a post's body", () => {
  it('has at most 40,000 characters, or none, or blanks', async () => {
    const write = (body?: string) => ann.post('/api/posts', {title: 'x', ...(body === undefined ? {} : {body})})
    expect((await write()).body.post.body).toBe('')
    for (const body of ['', ' \n ', 'x'.repeat(40_000), ASTRAL.repeat(40_000)]) {
      expect((await write(body)).body.post.body).toBe(body)
    }
    for (const body of ['x'.repeat(40_001), ASTRAL.repeat(40_001), ' '.repeat(40_001)]) {
      expectRefused(await write(body), 'body', 'must have at most 40000 characters')
    }
  })
})

describe('attachments', () => {
  it('are at most 10', async () => {
    const urls = Array.from({length: 11}, (_, index) => `https://example.com/${index}`)
    const ten = await ann.post('/api/posts', {title: 'x', attachments: urls.slice(0, 10)})
    expect(ten.body.post.attachments).toEqual(urls.slice(0, 10))
    expectRefused(
      await ann.post('/api/posts', {title: 'x', attachments: urls}),
      'attachments',
      'must have at most 10 items',
    )
  })

  it('are http or https URLs', async () => {
    const right = [
      'http://example.com',
      'HTTPS://example.com/a?b=c#d',
      'https://bücher.example/ü',
      'http://[::1]:8080/x',
    ]
    expect((await ann.post('/api/posts', {title: 'x', attachments: right})).body.post.attachments).toEqual(right)
    for (const wrong of [
      '',
      'x',
      'example.com/x.png',
      '//example.com/x',
      '/relative',
      'javascript:alert(1)',
      'data:text/html,x',
      'ftp://example.com/x',
      'file:///etc/passwd',
      'https:',
      'https://',
      'https:example.com',
      ' https://example.com',
      'https://example.com/a b',
      'https://example.com/\nx',
      'java\tscript:alert(1)',
      'http://example.com:99999/',
    ]) {
      const reply = await ann.post('/api/posts', {title: 'x', attachments: ['https://example.com', wrong]})
      expect(reply.status, wrong).toBe(400)
      expect(reply.body.issues[0].path).toBe('attachments.1')
    }
  })
})

describe('a request', () => {
  it('names every field that is wrong', async () => {
    const reply = await visit(server().url).post('/api/email/register', {email: 'x', password: 'x', username: ' '})
    expect(reply.status).toBe(400)
    expect(reply.body.issues.map(({path}: {path: string}) => path)).toEqual(['email', 'password', 'username'])
  })
})
