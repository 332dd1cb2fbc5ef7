import {gzipSync} from 'node:zlib'
import fc from 'fast-check'
import type {JsonSchema} from '../../src/http/jsonSchema.ts'
import type {OpenApi, Operation, Parameter} from '../../src/http/openapi.ts'

/** Who sends it: people who stay, one who is signed out again and again, one who is erased, a bot, and nobody. */
export type Sender = 'ann' | 'bob' | 'leaver' | 'erased' | 'bot' | 'nobody' | 'forger'

/** A request as it is sent. In `target` and `body`, `<room:7>` and the like stand for what is known when it is sent. */
export type FuzzRequest = {
  operationId: string
  by: Sender
  method: string
  target: string
  headers: {[name: string]: string}
  body: Buffer | null
  /** Sent in pieces, of unknown length. */
  chunked: boolean
  /** Left by the client before the answer. */
  abandoned: boolean
}

type Arb<T> = fc.Arbitrary<T>

const nat = fc.nat({max: 10_000})
const known = (kind: 'room' | 'post' | 'user' | 'email' | 'position' | 'upload' | 'etag') =>
  nat.map((n) => `<${kind}:${n}>`)

/** What programs stumble over. */
const awkward = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '\u0000',
    '\ud800',
    '\udfff x',
    '\u202e',
    '\ufeff',
    '0',
    '-1',
    'null',
    'undefined',
    'NaN',
    '[object Object]',
    '__proto__',
    'constructor',
    "' OR 1=1 --",
    '"; DROP SCHEMA read CASCADE; --',
    '$1',
    '%s%n',
    '../../../etc/passwd',
    '..%2f..%2fpackage.json',
    '<script>alert(1)</script>',
    '{{7*7}}',
    '#{7*7}',
    'a\r\nSet-Cookie: x=y',
    'javascript:alert(1)',
    'http://[',
    'http://example.com/\u0000',
    'x'.repeat(300),
    '😀'.repeat(210),
    'é'.normalize('NFD'),
    '9'.repeat(30),
    '1e309',
    '0x10',
    'upload:community/2026/11/x.png',
  ),
  fc.string({unit: 'grapheme', maxLength: 40}),
  fc.string({unit: 'binary', maxLength: 40}),
)

const anyJson: Arb<unknown> = fc.oneof(
  {weight: 4, arbitrary: fc.jsonValue({maxDepth: 3})},
  {weight: 3, arbitrary: awkward},
  {
    weight: 2,
    arbitrary: fc.constantFrom<unknown>(null, true, [], {}, 0, -0, 1e308, Number.MAX_SAFE_INTEGER + 2, [[[[]]]], {
      toString: 'x',
      length: -1,
    }),
  },
)

const text = ({minLength = 0, maxLength = 60}: {minLength?: number; maxLength?: number}): Arb<string> =>
  fc.oneof(
    {weight: 60, arbitrary: fc.string({unit: 'grapheme-ascii', minLength, maxLength: Math.min(maxLength, 60)})},
    // Long ones are stored and read again and again, so they are few.
    {
      weight: maxLength > 300 ? 1 : 10,
      arbitrary: fc.constantFrom('a'.repeat(maxLength), '😀'.repeat(maxLength), 'a'.repeat(maxLength + 1)),
    },
    {weight: 10, arbitrary: awkward},
  )

const named: {[name: string]: Arb<unknown>} = {
  roomId: known('room'),
  postId: known('post'),
  key: known('upload'),
  userId: fc.oneof(
    known('user'),
    known('email'),
    fc.stringMatching(/^(discord_)?\d{17,20}$/),
    fc.constant('reddit_abc'),
  ),
  email: fc.oneof(known('email'), fc.emailAddress()),
  password: fc.constantFrom('secret one', 'wrong one', 'short', 'ü'.repeat(37)),
  cursor: fc.oneof(known('position'), fc.stringMatching(/^\d{1,19}$/)),
  token: fc.stringMatching(/^[a-z2-7]{26}\.[a-z2-7]{32}$/),
  attachments: fc.array(fc.oneof(fc.webUrl(), known('upload')), {maxLength: 11}),
}

/** Mostly values that the schema takes. */
const fitting = (schema: JsonSchema, name = ''): Arb<unknown> => {
  const special = named[name]
  if (special) return special
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]))
  const either = (schema.anyOf ?? schema.oneOf) as JsonSchema[] | undefined
  if (either) return fc.oneof(...either.map((one) => fitting(one)))
  const {type, minimum = -10, maximum = 1_000_000, pattern, items, properties, required = []} = schema
  switch (type) {
    case 'string':
      return typeof pattern === 'string' ? fc.stringMatching(new RegExp(pattern)) : text(schema)
    case 'integer':
      return fc.integer({
        min: Math.max(minimum as number, -(2 ** 31)),
        max: Math.min(maximum as number, 2 ** 31 - 1),
      })
    case 'boolean':
      return fc.boolean()
    case 'array':
      return fc.array(fitting(items as JsonSchema), {maxLength: 5})
    case 'object':
      return fc.record(
        Object.fromEntries(
          Object.entries((properties ?? {}) as {[name: string]: JsonSchema}).map(([name, one]) => [
            name,
            fitting(one, name),
          ]),
        ),
        {requiredKeys: required as string[]},
      )
    default:
      return anyJson
  }
}

/** One field is something else, is gone, or is there twice over. */
const spoilt = (body: Arb<unknown>): Arb<unknown> =>
  fc.tuple(body, nat, anyJson, fc.constantFrom('replace', 'remove', 'add')).map(([value, n, other, how]) => {
    if (typeof value !== 'object' || value === null) return other
    const names = Object.keys(value)
    const name = names[n % Math.max(1, names.length)] ?? 'x'
    if (how === 'add') return {...value, [n % 2 ? '__proto__' : 'extra']: other}
    const rest = Object.fromEntries(Object.entries(value).filter(([key]) => key !== name))
    return how === 'remove' ? rest : {...rest, [name]: other}
  })

const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`

type Sent = {bytes: Buffer; type: string; more?: {[name: string]: string}}
const json = (value: unknown): Sent => ({bytes: Buffer.from(JSON.stringify(value) ?? ''), type: 'application/json'})

/** The bytes of a body, mostly as they should be. */
const encoded = (body: Arb<unknown>): Arb<Sent> =>
  fc.oneof(
    {weight: 30, arbitrary: body.map(json)},
    {weight: 25, arbitrary: spoilt(body).map(json)},
    {weight: 6, arbitrary: anyJson.map(json)},
    {
      weight: 4,
      arbitrary: fc.tuple(body, nat).map(([value, n]) => {
        const {bytes} = json(value)
        return {bytes: bytes.subarray(0, n % (bytes.length + 1)), type: 'application/json'}
      }),
    },
    {
      weight: 4,
      arbitrary: fc.tuple(body, nat, fc.uint8Array({minLength: 1, maxLength: 8})).map(([value, n, noise]) => {
        const {bytes} = json(value)
        const at = n % (bytes.length + 1)
        return {bytes: Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]), type: 'application/json'}
      }),
    },
    {
      weight: 5,
      arbitrary: fc
        .tuple(
          body,
          fc.constantFrom(
            'text/plain',
            'application/json; charset=utf-16',
            'application/json; charset="utf-8"',
            'application/json;',
            'application/x-www-form-urlencoded',
            'multipart/form-data',
            'multipart/form-data; boundary=x',
            'application/jsonp',
            'application/merge-patch+json',
            '',
            ';;;',
          ),
        )
        .map(([value, type]) => ({...json(value), type})),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(body, fc.constantFrom('gzip', 'deflate', 'br', 'identity', 'x, y'))
        .map(([value, coding]) => ({
          bytes: coding === 'gzip' ? gzipSync(json(value).bytes) : json(value).bytes,
          type: 'application/json',
          more: {'content-encoding': coding},
        })),
    },
    {
      weight: 2,
      arbitrary: fc
        .constantFrom(
          '\ufeff{}',
          nested(50),
          nested(20_000),
          `[${'0,'.repeat(1000)}0]`,
          '{"title":1e400}',
          '{"title":"a","title":"b"}',
          '"\\ud800"',
          '{"title":"\\u0000"}',
        )
        .map((raw) => ({bytes: Buffer.from(raw), type: 'application/json'})),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(1, 512 * 1024 + 1, 700_000).map((size) => ({
        bytes: Buffer.from(JSON.stringify({title: 'a', content: 'x'.repeat(size)})),
        type: 'application/json',
      })),
    },
  )

const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)

const form: Arb<Sent> = fc
  .tuple(
    fc.oneof(
      {weight: 3, arbitrary: fc.constant(PNG)},
      {
        weight: 2,
        arbitrary: fc.uint8Array({maxLength: 200}).map((bytes) => Buffer.concat([PNG.subarray(0, 20), bytes])),
      },
      {weight: 1, arbitrary: fc.constant(Buffer.from('%PDF-1.7\n%%EOF'))},
      {weight: 1, arbitrary: fc.uint8Array({maxLength: 300}).map((bytes) => Buffer.from(bytes))},
    ),
    fc.constantFrom('file', 'file', 'file', 'file', 'other', 'file[]', ''),
    fc.constantFrom('a.png', '../../x.png', 'a"b.png', 'é.png', '', 'x'.repeat(400)),
    fc.constantFrom('image/png', 'text/html', ''),
    fc.constantFrom('whole', 'whole', 'whole', 'cut', 'doubled', 'unbounded'),
  )
  .map(([bytes, field, filename, type, how]) => {
    const boundary = 'fuzzfuzz'
    const part = Buffer.concat([
      Buffer.from(
        `--${boundary}\r\nContent-Disposition: form-data; name="${field}"; filename="${filename}"\r\nContent-Type: ${type}\r\n\r\n`,
      ),
      bytes,
      Buffer.from('\r\n'),
    ])
    const whole = Buffer.concat([part, ...(how === 'doubled' ? [part] : []), Buffer.from(`--${boundary}--\r\n`)])
    return {
      bytes: how === 'cut' ? whole.subarray(0, whole.length - 15) : whole,
      type: `multipart/form-data${how === 'unbounded' ? '' : `; boundary=${boundary}`}`,
    }
  })

const encodeLoosely = (value: string): string =>
  /^<\w+:\d+>$/.test(value) ? value : encodeURIComponent(value.toWellFormed())

const segment = (parameter: Parameter): Arb<string> =>
  fc.oneof(
    {weight: 8, arbitrary: fitting(parameter.schema, parameter.name).map((value) => encodeLoosely(String(value)))},
    {weight: 1, arbitrary: awkward.map(encodeLoosely)},
    {weight: 1, arbitrary: fc.constantFrom('%00', '%zz', '%', '%c0%af', '..', '.', '%2e%2e', '%2F', 'a'.repeat(2_000))},
  )

const queryOf = (parameters: Parameter[]): Arb<string> => {
  const one = ({name, schema}: Parameter) =>
    fc.oneof(
      {weight: 4, arbitrary: fitting(schema, name).map((value) => `${name}=${encodeLoosely(String(value))}`)},
      {weight: 1, arbitrary: awkward.map((value) => `${name}=${encodeLoosely(value)}`)},
      {
        weight: 1,
        arbitrary: fc.constantFrom(`${name}`, `${name}=1&${name}=2`, `${name}[a]=1`, `${name}=%`, `${name}=%c3%28`),
      },
    )
  const pieces = parameters.map((parameter) => fc.option(one(parameter), {nil: null, freq: 3}))
  const junk = fc.constantFrom(
    'x=1',
    '__proto__[x]=1',
    '&&&',
    '=',
    '%',
    'a=b'.repeat(500),
    Array(1100).fill('a').join('&'),
  )
  return fc
    .tuple(fc.tuple(...pieces), fc.option(junk, {nil: null, freq: 12}))
    .map(([found, extra]) => [...found, extra].filter((piece) => piece !== null).join('&'))
}

const bend = (target: string, how: string): string => {
  switch (how) {
    case 'slash':
      return `${target}/`
    case 'doubled':
      return target.replace('/', '//')
    case 'upper':
      return target.toUpperCase().replace(/<(\w+):/g, (_, kind: string) => `<${kind.toLowerCase()}:`)
    case 'dots':
      return target.replace('/api/', '/api/./x/../')
    case 'deeper':
      return `${target}/more/of/it`
    case 'shorter':
      return target.slice(0, target.lastIndexOf('/')) || '/'
    case 'semicolon':
      return `${target};x=1`
    case 'absolute':
      return `http://example.com${target}`
    default:
      return target
  }
}

const extraHeaders: Arb<{[name: string]: string}> = fc.oneof(
  {weight: 20, arbitrary: fc.constant({})},
  {
    weight: 6,
    arbitrary: fc.oneof(
      known('position').map((position) => ({'x-min-position': position})),
      fc
        .constantFrom('0', '-1', 'x', '99999999999999999999', '9223372036854775807')
        .map((position) => ({'x-min-position': position})),
      fc.nat(40).map((n) => ({'idempotency-key': `key ${n}`})),
      fc.constantFrom('', 'x'.repeat(256), 'é', '\t').map((key) => ({'idempotency-key': key})),
      known('etag').map((etag) => ({'if-none-match': etag})),
      fc.constantFrom('*', 'W/"x"', '"', ',,,').map((etag) => ({'if-none-match': etag})),
      fc
        .constantFrom('null', 'https://evil.example', 'http://localhost', 'file://', '', 'http://127.0.0.1:1', 'x')
        .map((origin) => ({origin})),
      fc
        .constantFrom('Bearer', 'Bearer wrong', 'Basic eDp5', 'bearer  x', '')
        .map((authorization) => ({authorization})),
      fc.constantFrom('echo', 'Echo', '', 'x'.repeat(40), '../').map((id) => ({'x-bot-id': id})),
      fc
        .constantFrom(
          'sid=s%3Ax.y',
          'sid=',
          'sid=s:%00',
          'log_position=x',
          'log_position=99999999999999999999',
          ';;=;',
          'a'.repeat(5_000),
        )
        .map((cookie) => ({cookie})),
      fc.constantFrom('bytes=0-0', 'bytes=9-1', 'bytes=-5', 'bytes=0-1,3-4', 'x').map((range) => ({range})),
      fc.constantFrom('text/html', '*/*;q=x', '').map((accept) => ({accept})),
      fc.constantFrom('127.0.0.1', 'x', '::1, 1.2.3.4').map((ip) => ({'x-forwarded-for': ip})),
      fc.constantFrom('DELETE', 'x').map((method) => ({'x-http-method-override': method})),
      fc.constantFrom('example.com', '', '[::1', 'a b').map((host) => ({host})),
    ),
  },
)

/** What changes or ends a session is never sent with that of somebody who is still needed. */
const endsSession = /logout|email\/(login|verify|reset)|login|callback/i

const requestOf = (path: string, method: string, operation: Operation): Arb<FuzzRequest> => {
  const {operationId, parameters, requestBody} = operation
  const inPath = parameters.filter((one) => one.in === 'path')
  const target = fc
    .tuple(
      fc.tuple(...inPath.map(segment)),
      queryOf(parameters.filter((one) => one.in === 'query')),
      fc.oneof(
        {weight: 12, arbitrary: fc.constant('')},
        {
          weight: 1,
          arbitrary: fc.constantFrom('slash', 'doubled', 'upper', 'dots', 'deeper', 'shorter', 'semicolon', 'absolute'),
        },
      ),
    )
    .map(([segments, query, how]) => {
      const filled = inPath.reduce((whole, {name}, index) => whole.replace(`{${name}}`, segments[index]!), path)
      // Longer ones are the business of the parser, and of the test of bytes that are no HTTP.
      return `${bend(filled, how)}${query === '' ? '' : `?${query}`}`.slice(0, 8_000)
    })
  const content = requestBody?.content ?? {}
  const schema = content['application/json']?.schema
  const sent: Arb<Sent | null> = content['multipart/form-data']
    ? fc.oneof({weight: 8, arbitrary: form}, {weight: 1, arbitrary: encoded(anyJson)})
    : schema
      ? fc.oneof({weight: 20, arbitrary: encoded(fitting(schema))}, {weight: 1, arbitrary: fc.constant(null)})
      : fc.oneof({weight: 8, arbitrary: fc.constant(null)}, {weight: 1, arbitrary: encoded(anyJson)})
  const others = fc.constantFrom(
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'PROPFIND',
    'MKCOL',
  )
  return fc
    .record({
      by: fc.oneof(
        {weight: 5, arbitrary: fc.constant<Sender>('ann')},
        {weight: 2, arbitrary: fc.constantFrom<Sender>('bob', 'bot', 'nobody')},
        {weight: 1, arbitrary: fc.constantFrom<Sender>('leaver', 'forger')},
      ),
      method: fc.oneof({weight: 12, arbitrary: fc.constant(method.toUpperCase())}, {weight: 1, arbitrary: others}),
      target,
      headers: extraHeaders,
      sent,
      chunked: fc.boolean(),
      abandoned: fc.nat(99).map((n) => n === 0),
    })
    .map(({by, method, target, headers, sent, chunked, abandoned}) => {
      const isErasure = method === 'DELETE' && /\/me(\W|$)/i.test(target)
      const other: Sender | null = isErasure ? 'erased' : endsSession.test(target) ? 'leaver' : null
      return {
        operationId,
        by: by === 'nobody' || by === 'forger' ? by : (other ?? by),
        method,
        target,
        headers: {...(sent && sent.type !== '' ? {'content-type': sent.type} : {}), ...sent?.more, ...headers},
        body: sent?.bytes ?? null,
        chunked,
        abandoned,
      }
    })
}

/** What only costs time, or can not do much here. */
const RARE =
  /^(read(OpenApi|ApiDocs|ApiDocsStyle|Metrics)|isAlive|isReady|exportMe|eraseUser|registerUser|(logInWith|returnFrom)\w+)$/

/** Requests to every operation of the document, mostly such as go deep. */
export const requestsFor = (document: OpenApi): Arb<FuzzRequest> =>
  fc.oneof(
    ...Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        weight: RARE.test(operation.operationId) ? 1 : 5,
        arbitrary: requestOf(path, method, operation),
      })),
    ),
  )

/** Arguments of socket events: mostly such as are taken, else anything that JSON and binary frames can carry. */
export const socketArgs = (document: OpenApi): Arb<{name: string; args: unknown[]}> => {
  const ours = document['x-socket-events']
    .filter(({from}) => from === 'client')
    .map(({name, args}) => {
      const fits = fc.tuple(...args.map(({name, schema}) => fitting(schema, name)))
      const binary = fc.uint8Array({maxLength: 50}).map((bytes) => [Buffer.from(bytes)])
      return fc.record({
        name: fc.constant(name),
        args: fc.oneof(
          {weight: 6, arbitrary: fits as Arb<unknown[]>},
          {
            weight: 3,
            arbitrary: fits.chain(
              (values) => fc.tuple(...values.map((value) => spoilt(fc.constant(value)))) as Arb<unknown[]>,
            ),
          },
          {weight: 2, arbitrary: fc.array(anyJson, {maxLength: 4})},
          {weight: 1, arbitrary: binary as Arb<unknown[]>},
        ),
      })
    })
  const unknown = fc.record({
    name: fc.oneof(fc.constantFrom('message', '__proto__', 'toString', '', 'x'), awkward),
    args: fc.array(anyJson, {maxLength: 3}),
  })
  return fc.oneof(...ours.map((arbitrary) => ({weight: 4, arbitrary})), {weight: 1, arbitrary: unknown})
}
