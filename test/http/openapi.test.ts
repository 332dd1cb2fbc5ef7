import {validate} from '@readme/openapi-parser'
import {Ajv2020} from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import {describe, expect, it} from 'vitest'
import {PostBody, Title} from '../../src/domain/post.ts'
import {RoomName} from '../../src/domain/room.ts'
import {Username} from '../../src/domain/user.ts'
import type {JsonSchema} from '../../src/http/jsonSchema.ts'
import {misfitOf, ourOpenApi} from '../support/conformance.ts'
import {visit} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()
const document = ourOpenApi()
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({path, method, operation})),
)

describe('openApiOf', () => {
  it('makes a valid OpenAPI 3.1 document', async () => {
    expect(await validate(structuredClone(document) as never)).toMatchObject({valid: true, warnings: []})
  })

  it('is what the server gives, whatever is configured', async () => {
    const {status, body} = await visit(server().url).get('/openapi.json')
    expect(status).toBe(200)
    expect({...body, servers: []}).toEqual({...document, servers: []})
  })

  it('knows every path of the contract', () => {
    const listed = operations.map(({path, method}) => `${method.toUpperCase()} ${path}`)
    expect(listed).toEqual(
      expect.arrayContaining([
        'GET /api/me',
        'GET /api/logout',
        'GET /api/login',
        'GET /api/callback',
        'GET /api/reddit/login',
        'GET /api/reddit/callback',
        'POST /api/email/register',
        'GET /api/email/verify',
        'POST /api/email/resend-verification',
        'POST /api/email/login',
        'POST /api/email/forgot',
        'POST /api/email/reset',
        'GET /api/posts',
        'POST /api/posts',
        'GET /api/posts/{postId}',
        'POST /api/upload',
        'GET /api/rooms',
        'POST /api/rooms',
        'GET /api/rooms/{roomId}',
        'POST /api/rooms/{roomId}/join',
        'POST /api/rooms/{roomId}/leave',
        'POST /api/rooms/{roomId}/invite',
        'GET /api/rooms/{roomId}/messages',
        'POST /api/rooms/{roomId}/messages',
        'GET /api/search',
        'GET /api/me/export',
        'DELETE /api/me',
        'GET /healthz',
        'GET /readyz',
        'GET /metrics',
        'GET /openapi.json',
        'GET /api-docs.html',
      ]),
    )
  })

  it('names each operation once and says what it is for', () => {
    const ids = operations.map(({operation}) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const {operation} of operations) {
      expect(operation.summary, operation.operationId).toMatch(/^\S.*[^.]$/)
      expect(Object.keys(operation.responses), operation.operationId).toContain('500')
    }
  })

  it('holds only schemas that say what they mean', () => {
    const ajv = new Ajv2020({strict: true, strictTypes: false, strictRequired: false, allowUnionTypes: true})
    ;(formats as unknown as (ajv: Ajv2020) => void)(ajv)
    ajv.addKeyword('components')
    const compile = (schema: JsonSchema) => ajv.compile({...schema, components: {schemas: document.components.schemas}})
    for (const schema of Object.values(document.components.schemas)) compile(schema)
    for (const {operation} of operations) {
      for (const {schema} of operation.parameters) compile(schema)
      for (const {schema} of Object.values(operation.requestBody?.content ?? {})) compile(schema)
      for (const {content} of Object.values(operation.responses)) {
        for (const {schema} of Object.values(content ?? {})) compile(schema)
      }
    }
    for (const {args, callback} of document['x-socket-events']) {
      for (const {schema} of args) compile(schema)
      if (callback) compile(callback)
    }
  })

  it('counts characters as the server does: in code points', () => {
    const bodyOf = (path: string) =>
      document.paths[path]!.post!.requestBody!.content['application/json']!.schema.properties as {
        [name: string]: {maxLength: number; minLength?: number}
      }
    const fields = [
      [Title, bodyOf('/api/posts').title],
      [PostBody, bodyOf('/api/posts').body],
      [RoomName, bodyOf('/api/rooms').name],
      [Username, bodyOf('/api/email/register').username],
    ] as const
    for (const [shape, documented] of fields) {
      const most = '😀'.repeat(documented!.maxLength)
      expect(shape.safeParse(most).success).toBe(true)
      expect(shape.safeParse(`${most}x`).success).toBe(false)
      expect(shape.safeParse('').success).toBe(documented!.minLength === undefined)
    }
  })

  it('tells of each refusal with Retry-After, and of who may ask', () => {
    const post = document.paths['/api/posts']!.post!
    expect(post.security).toEqual([{session: []}, {bot: []}])
    expect(post.parameters.map(({name}) => name)).toEqual(['X-Bot-Id', 'Idempotency-Key'])
    expect(post.responses[429]!.headers).toHaveProperty('Retry-After')
    expect(post.responses[503]!.headers).toHaveProperty('Retry-After')
    expect(post.responses[422]!.description).toContain('IDEMPOTENCY_KEY_REUSED')
    expect(post.responses[200]!.headers).toHaveProperty('X-Log-Position')
    const list = document.paths['/api/posts']!.get!
    expect(list.parameters.map(({name}) => name)).toEqual(['limit', 'cursor', 'X-Min-Position', 'If-None-Match'])
    expect(Object.keys(list.responses)).toEqual(expect.arrayContaining(['200', '304', '400', '503']))
  })
})

describe('misfitOf', () => {
  const answer = (status: number, body: unknown, headers: {[name: string]: string} = {}) => ({
    method: 'GET',
    path: '/healthz',
    pattern: '/healthz',
    status,
    header: (name: string) =>
      ({
        'Content-Type': 'application/json',
        'content-type': 'application/json',
        'X-Request-Id': '123e4567-e89b-42d3-a456-426614174000',
        ...headers,
      })[name] ?? null,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })

  it('has nothing against what is documented', () => {
    expect(misfitOf(answer(200, {ok: true}))).toBe(null)
  })

  it('finds another status, type, header, field and value, and every fault', () => {
    expect(misfitOf(answer(201, {ok: true}))).toBe('the status 201 is not documented')
    expect(misfitOf(answer(200, '{"ok":true}', {'content-type': 'text/html'}))).toMatch(/text\/html is not documented/)
    expect(misfitOf(answer(200, {ok: true}, {'X-Request-Id': 'one'}))).toMatch(/X-Request-Id/)
    expect(misfitOf(answer(200, {ok: true, more: 1}))).toMatch(/additional properties/)
    expect(misfitOf(answer(200, {ok: 'yes'}))).toMatch(/ok/)
    expect(misfitOf(answer(500, {ok: false}))).toBe('a fault of the server')
    expect(misfitOf({...answer(200, {ok: true}), path: '/nowhere', pattern: undefined})).toMatch(/no route/)
  })
})
