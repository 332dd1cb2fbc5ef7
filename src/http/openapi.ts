import type {Config} from '../config.ts'
import {type Code, ERRORS} from '../edge/errors.ts'
import {ErrorShape} from '../edge/shapes.ts'
import type {DocumentedEvent} from '../edge/socketEvent.ts'
import {type JsonSchema, jsonSchemaOf} from './jsonSchema.ts'
import type {Route} from './route.ts'
import {STATUS} from './statuses.ts'

export type Parameter = {
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  description?: string
  schema: JsonSchema
}
export type Header = {description: string; required?: boolean; schema: JsonSchema}
export type Media = {[type: string]: {schema: JsonSchema; encoding?: object}}
export type ResponseObject = {description: string; headers?: {[name: string]: {$ref: string}}; content?: Media}
export type Operation = {
  operationId: string
  summary: string
  description?: string
  tags: string[]
  security: {[scheme: string]: string[]}[]
  parameters: Parameter[]
  requestBody?: {required: boolean; content: Media}
  responses: {[status: string]: ResponseObject}
}
/** An event of the extension `x-socket-events`. `callback`: what it is called with, the error object aside. */
export type EventObject = {
  name: string
  from: 'client' | 'server'
  summary: string
  description?: string
  args: {name: string; schema: JsonSchema}[]
  callback?: JsonSchema
  errors?: Code[]
}
export type OpenApi = {
  openapi: '3.1.1'
  info: {title: string; version: string; summary: string; description: string; license: object}
  servers: {url: string}[]
  tags: {name: string; description: string}[]
  paths: {[path: string]: {[method: string]: Operation}}
  components: {
    schemas: {[id: string]: JsonSchema}
    headers: {[name: string]: Header}
    securitySchemes: {[name: string]: JsonSchema}
  }
  'x-socket-events': EventObject[]
}

const ABOUT = `Requests and answers are JSON in UTF-8; unknown fields of a request are ignored. Every refusal has the shape
\`Error\`: a sentence, a stable \`code\` and a \`requestId\`, which also stands in \`X-Request-Id\`. Every GET answers HEAD as well.

A session is a cookie, which every way to sign in sets. Bots send \`Authorization: Bearer\` with the server's bot token instead, and
may name themselves in \`X-Bot-Id\`. A POST or DELETE from a page of another site is refused with \`CROSS_SITE\`.

A write answers once lists show it, and tells its place in the log in \`X-Log-Position\`, also in a cookie. Whoever sends that back, as
every browser does by the cookie and others can in \`X-Min-Position\`, reads what was written, on every node. \`Idempotency-Key\`
makes a write safe to repeat.

Lists come in pages where they are long: the \`Link\` header with \`rel="next"\` leads on. Times are ISO 8601 in UTC with milliseconds.
Text is counted in code points. Where an answer says \`Retry-After\`, it is in seconds. Mails,
logins and sockets are limited over all servers together; writes and messages by each server for itself.`

const TAGS: readonly {name: string; description: string; prefixes: readonly string[]}[] = [
  {name: 'Posts', description: 'What everybody can read.', prefixes: ['/api/posts', '/api/search']},
  {name: 'Rooms', description: 'Rooms, who is in them, and what is said there.', prefixes: ['/api/rooms']},
  {name: 'Uploads', description: 'Pictures and PDFs.', prefixes: ['/api/upload', '/uploads']},
  {name: 'Account', description: 'Registering, signing in, and oneself.', prefixes: ['/api/']},
  {name: 'Server', description: 'What operators and programs ask about the server.', prefixes: ['/']},
]

/** Express's path as OpenAPI writes it. */
export const openApiPath = (path: string): string => path.replace(/[:*](\w+)/g, '{$1}')

const text = (rest: JsonSchema = {}): JsonSchema => ({type: 'string', ...rest})

const isRead = (route: Route): boolean => route.method === 'get' && route.tables.length > 0 && !route.unsafe
const isWrite = (route: Route): boolean => route.method !== 'get' || route.unsafe === true
const isJson = (answer: Route['answer']): boolean => answer !== 'redirect' && !('types' in answer)

/** What the route may refuse: what it declares, and what is checked before it is called (http/app.ts). */
export const errorsOf = (route: Route): Code[] => {
  const {method, auth, params, query, body, file, errors} = route
  const asks = auth === 'person' || auth === 'optional'
  const touchesDatabase = auth !== 'none' || route.tables.length > 0
  const codes: (Code | false | undefined)[] = [
    ...errors,
    (params || query || body || file || asks || isRead(route)) && 'INVALID',
    isRead(route) && 'POSITION_UNKNOWN',
    asks && 'NOT_SIGNED_IN',
    method !== 'get' && 'CROSS_SITE',
    params && 'NOT_FOUND',
    body && 'TOO_LARGE',
    body && 'NOT_JSON',
    method !== 'get' && 'RATE_LIMITED',
    'INTERNAL',
    isWrite(route) && 'BUSY',
    (isRead(route) || asks) && 'BEHIND',
    touchesDatabase && 'UNAVAILABLE',
  ]
  const order = Object.keys(ERRORS) as Code[]
  return order.filter((code) => codes.includes(code))
}

const objectOf = (schema: JsonSchema) => ({
  properties: (schema.properties ?? {}) as {[name: string]: JsonSchema},
  required: (schema.required ?? []) as string[],
})

const parametersOf = (route: Route): Parameter[] => {
  const parameters: Parameter[] = []
  const add = (where: 'path' | 'query', shape: Route['params']) => {
    if (!shape) return
    const {properties, required} = objectOf(jsonSchemaOf(shape, 'input', {}))
    for (const [name, {description, ...schema}] of Object.entries(properties)) {
      parameters.push({
        name,
        in: where,
        required: where === 'path' || required.includes(name),
        ...(typeof description === 'string' ? {description} : {}),
        schema,
      })
    }
  }
  const header = (name: string, description: string, schema: JsonSchema) =>
    parameters.push({name, in: 'header', required: false, description, schema})
  add('path', route.params)
  add('query', route.query)
  if (route.auth === 'person' || route.auth === 'optional') {
    header(
      'X-Bot-Id',
      'With a bot token: what the bot calls itself.',
      text({pattern: '^[a-z0-9_-]{1,32}$', default: 'bot'}),
    )
  }
  if (isRead(route)) {
    const position = text({pattern: '^\\d{1,19}$'})
    header('X-Min-Position', 'The position of a write that the answer must show; it waits 2 seconds at most.', position)
  }
  if (isRead(route) && route.auth === 'none') {
    header('If-None-Match', 'The `ETag` of what one has: where that is still so, the answer is 304.', text())
  }
  if (route.repeatable) {
    const key = text({pattern: '^[ -~]{1,255}$'})
    header('Idempotency-Key', 'The same key, path and body again: the first answer again, and nothing done twice.', key)
  }
  return parameters
}

const HEADERS = {
  'X-Request-Id': {
    description: 'By which the server has the request in its log.',
    required: true,
    schema: text({format: 'uuid'}),
  },
  'X-Log-Position': {
    description: 'The place of this write in the log, in decimals.',
    schema: text({pattern: '^\\d{1,19}$'}),
  },
  Link: {description: 'Where there is more: `<…>; rel="next"`.', schema: text()},
  ETag: {description: 'Of what is sent, for `If-None-Match`.', required: true, schema: text()},
  'Retry-After': {description: 'Seconds to wait.', required: true, schema: text({pattern: '^\\d+$'})},
  Location: {description: 'Where to go on.', required: true, schema: text()},
  'Set-Cookie': {description: 'The session, where it is new or changed.', schema: text()},
  'Content-Range': {description: 'Which part it is, or how long the whole is.', schema: text()},
} as const satisfies {[name: string]: Header}

const headers = (...names: (keyof typeof HEADERS | false | undefined)[]): {[name: string]: {$ref: string}} => {
  const wanted = ['X-Request-Id' as const, ...names.filter((name) => name !== false && name !== undefined)]
  return Object.fromEntries(wanted.map((name) => [name, {$ref: `#/components/headers/${name}`}]))
}

const responsesOf = (route: Route, components: {[id: string]: JsonSchema}): Operation['responses'] => {
  const {answer, also = {}, auth} = route
  const responses: Operation['responses'] = {}
  const revalidated = isRead(route) && auth === 'none' && isJson(answer)
  const json = (shape: Parameters<typeof jsonSchemaOf>[0]): Media => ({
    'application/json': {schema: jsonSchemaOf(shape, 'output', components)},
  })
  const query = route.query ? objectOf(jsonSchemaOf(route.query, 'input', {})).properties : {}
  const always = [isWrite(route) && ('X-Log-Position' as const), auth === 'session' && ('Set-Cookie' as const)]
  if (answer === 'redirect') {
    responses[302] = {description: 'Leads on.', headers: headers('Location', ...always)}
  } else if ('types' in answer) {
    const {types, of, ranges} = answer
    const schema = of ? jsonSchemaOf(of, 'output', components) : {}
    const content = Object.fromEntries(types.map((type) => [type, {schema}]))
    responses[200] = {description: 'Here it is.', headers: headers(...(ranges ? (['ETag'] as const) : [])), content}
    if (ranges) {
      responses[206] = {description: 'The part that was asked for.', headers: headers('ETag', 'Content-Range'), content}
      responses[304] = {description: 'It is what one has already.', headers: headers('ETag')}
      responses[412] = {description: 'It is not what the request wants it to be.', headers: headers()}
      responses[416] = {description: 'It has no such part.', headers: headers('Content-Range')}
    }
  } else {
    responses[200] = {
      description: 'Done.',
      headers: headers(revalidated && 'ETag', 'cursor' in query && 'Link', ...always),
      content: json(answer),
    }
    if (revalidated) responses[304] = {description: 'It is what one has already.', headers: headers('ETag', 'Link')}
  }
  for (const [status, shape] of Object.entries(also)) {
    responses[status] = {
      description: 'Not as it should be.',
      headers: headers(status === '503' && 'Retry-After'),
      content: json(shape),
    }
  }
  const byStatus = Map.groupBy(errorsOf(route), (code) => STATUS[code])
  for (const [status, codes] of [...byStatus].sort(([a], [b]) => a - b)) {
    const schema = {allOf: [jsonSchemaOf(ErrorShape, 'output', components), {properties: {code: {enum: codes}}}]}
    const other = responses[status]?.content?.['application/json']?.schema
    responses[status] = {
      description: codes.map((code) => `\`${code}\`: ${ERRORS[code]}`).join(' '),
      headers: headers((status === 429 || status === 503) && 'Retry-After'),
      content: {'application/json': {schema: other ? {anyOf: [other, schema]} : schema}},
    }
  }
  return responses
}

const requestBodyOf = ({body, file}: Route): Operation['requestBody'] | undefined => {
  if (file) {
    const {field, types, maxBytes} = file
    const description = `The file: ${types.join(', ')}; at most ${maxBytes} bytes.`
    const schema = {type: 'object', properties: {[field]: {description}}, required: [field]}
    return {
      required: true,
      content: {'multipart/form-data': {schema, encoding: {[field]: {contentType: types.join(', ')}}}},
    }
  }
  if (!body) return undefined
  const schema = jsonSchemaOf(body, 'input', {})
  return {required: objectOf(schema).required.length > 0, content: {'application/json': {schema}}}
}

const SECURITY: {readonly [auth in Route['auth']]: Operation['security']} = {
  none: [],
  session: [{}, {session: []}],
  person: [{session: []}, {bot: []}],
  optional: [{}, {session: []}, {bot: []}],
}

const operationOf = (route: Route, components: {[id: string]: JsonSchema}): Operation => {
  const {operationId, summary, description, auth, path} = route
  const requestBody = requestBodyOf(route)
  return {
    operationId,
    summary,
    ...(description === undefined ? {} : {description}),
    tags: [TAGS.find(({prefixes}) => prefixes.some((prefix) => path.startsWith(prefix)))!.name],
    security: SECURITY[auth],
    parameters: parametersOf(route),
    ...(requestBody ? {requestBody} : {}),
    responses: responsesOf(route, components),
  }
}

/** The OpenAPI 3.1 document of these routes: made from the schemas that check requests, with the socket events beside them. */
export const openApiOf = (
  routes: readonly Route[],
  events: readonly DocumentedEvent[],
  {baseUrl}: Pick<Config, 'baseUrl'>,
): OpenApi => {
  const schemas: {[id: string]: JsonSchema} = {}
  const paths: OpenApi['paths'] = {}
  for (const route of routes) {
    const path = openApiPath(route.path)
    paths[path] = {...paths[path], [route.method]: operationOf(route, schemas)}
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Community server',
      version: '1',
      summary: 'Posts, rooms and chat.',
      description: ABOUT,
      license: {name: 'MIT', identifier: 'MIT'},
    },
    servers: [{url: baseUrl}],
    tags: TAGS.map(({name, description}) => ({name, description})),
    paths,
    'x-socket-events': events.map(({args, answer, errors, ...event}) => ({
      ...event,
      args: args.map(({name, shape}) => ({
        name,
        schema: jsonSchemaOf(shape, event.from === 'client' ? 'input' : 'output', schemas),
      })),
      ...(answer ? {callback: jsonSchemaOf(answer, 'output', schemas)} : {}),
      ...(errors ? {errors: [...errors]} : {}),
    })),
    components: {
      schemas,
      headers: HEADERS,
      securitySchemes: {
        session: {type: 'apiKey', in: 'cookie', name: 'sid', description: 'Set by every way to sign in. HttpOnly.'},
        bot: {type: 'http', scheme: 'bearer', description: "The server's bot token."},
      },
    },
  }
}
