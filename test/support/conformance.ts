import diagnostics from 'node:diagnostics_channel'
import type {IncomingMessage, ServerResponse} from 'node:http'
import {Ajv2020, type ValidateFunction} from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type {Request} from 'express'
import {afterAll, afterEach} from 'vitest'
import {readConfig} from '../../src/config.ts'
import type {Parts} from '../../src/edge/parts.ts'
import type {JsonSchema} from '../../src/http/jsonSchema.ts'
import {type OpenApi, type Operation, openApiOf, openApiPath} from '../../src/http/openapi.ts'
import {routesOf} from '../../src/http/routes.ts'
import {documentedEvents} from '../../src/realtime/documentedEvents.ts'

/** What was answered, by whichever means it was seen. `pattern`: Express's own path of the route, where one was found. */
export type Exchange = {
  method: string
  path: string
  pattern?: unknown
  status: number
  header(name: string): string | null
  /** Empty where it was too long to be kept. */
  body: string
  isCut?: boolean
}

// Routes are only declared here, never called.
const hollow: unknown = new Proxy(() => {}, {get: () => hollow})

/** The document as any server has it: but for its own address it does not depend on what is configured. */
export const ourOpenApi = (): OpenApi => {
  const config = readConfig({})
  const parts = new Proxy({config}, {get: (_, name) => (name === 'config' ? config : hollow)}) as unknown as Parts
  return openApiOf(routesOf(parts), documentedEvents, config)
}

/**
 * Fields that are not documented may come one day, so the document itself allows them; here they are a fault, or the
 * documentation would fall behind.
 */
const withoutExtras = <T>(node: T): T => {
  if (Array.isArray(node)) return node.map(withoutExtras) as T
  if (typeof node !== 'object' || node === null) return node
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, withoutExtras(value)]))
  const isShape = copy.type === 'object' && copy.properties !== undefined && copy.additionalProperties === undefined
  return (isShape ? {...copy, additionalProperties: false} : copy) as T
}

const open = () => {
  const document = withoutExtras(ourOpenApi())
  const ajv = new Ajv2020({strict: false, allErrors: true})
  ;(formats as unknown as (ajv: Ajv2020) => void)(ajv)
  const compiled = new Map<JsonSchema, ValidateFunction>()
  /** What is wrong with the value, or null. */
  const misfit = (schema: JsonSchema, value: unknown): string | null => {
    let validate = compiled.get(schema)
    if (!validate) {
      validate = ajv.compile({...schema, components: {schemas: document.components.schemas}})
      compiled.set(schema, validate)
    }
    return validate(value) ? null : ajv.errorsText(validate.errors, {dataVar: 'body', separator: '; '})
  }
  const templates = Object.keys(document.paths).map((path) => ({
    path,
    // Express matches in any case, and with a slash at the end.
    regExp: new RegExp(`^${path.replace(/\{key\}/, '.+').replace(/\{\w+\}/g, '[^/]+')}/?$`, 'i'),
  }))
  const operationAt = (method: string, path: string): Operation | undefined =>
    document.paths[path]?.[method === 'HEAD' ? 'get' : method.toLowerCase()]
  const operationFor = (method: string, path: string): Operation | undefined => {
    const fitting = templates.filter(({regExp}) => regExp.test(path)).map(({path}) => operationAt(method, path))
    return fitting.find((operation) => operation !== undefined)
  }
  return {document, misfit, operationAt, operationFor}
}

let opened: ReturnType<typeof open> | null = null
const contract = () => {
  opened ??= open()
  return opened
}

const parsed = (body: string): {value: unknown} | null => {
  try {
    return {value: JSON.parse(body)}
  } catch {
    return null
  }
}

/** What is refused before any route is found. */
const EARLY: {[status: number]: string} = {400: 'INVALID', 403: 'CROSS_SITE', 404: 'NOT_FOUND'}

const misfitOfEarly = ({method, status, header, body}: Exchange): string | null => {
  // The web client says that there is no such page.
  if (status === 404 && header('content-type')?.startsWith('text/html')) return null
  const {document, misfit} = contract()
  if (method === 'HEAD' && EARLY[status] !== undefined) return body === '' ? null : 'there is a body'
  const json = parsed(body)
  if (!json) return 'the body is not JSON'
  const code = (json.value as {code?: unknown}).code
  if (EARLY[status] === undefined || EARLY[status] !== code)
    return `${status} with ${code} is not what is answered where there is no route`
  return misfit(document.components.schemas.Error!, json.value)
}

const misfitOfOperation = (operation: Operation, {method, status, header, body, isCut}: Exchange): string | null => {
  const {document, misfit} = contract()
  // A GET that changes something does nothing when it is asked by HEAD.
  if (method === 'HEAD' && status === 200 && operation.responses[302]) return null
  const response = operation.responses[status]
  if (!response) return `the status ${status} is not documented`
  for (const name of Object.keys(response.headers ?? {})) {
    const {required, schema} = document.components.headers[name]!
    const value = header(name)
    if (value === null && required) return `the header ${name} is missing`
    const wrong = value === null ? null : misfit(schema, value)
    if (wrong !== null) return `the header ${name}: ${wrong}`
  }
  if (method === 'HEAD' || status === 304) return body === '' ? null : 'there is a body'
  // A redirect's sentence for who does not follow it is nobody's contract.
  if (status === 302) return null
  const type = header('content-type')?.split(';')[0] ?? null
  const media = response.content?.[type ?? '']
  if (!media) return response.content || body !== '' ? `the content type ${type} is not documented` : null
  if (type !== 'application/json' || isCut) return null
  const json = parsed(body)
  return json ? misfit(media.schema, json.value) : 'the body is not JSON'
}

/** How the answer differs from what is documented, in a sentence; null where it does not. */
export const misfitOf = (exchange: Exchange): string | null => {
  const {method, path, pattern, status} = exchange
  if (status === 500) return 'a fault of the server'
  if (method === 'OPTIONS' && status === 204) return null
  const {operationAt, operationFor} = contract()
  if (pattern !== undefined) {
    const operation = typeof pattern === 'string' ? operationAt(method, openApiPath(pattern)) : undefined
    // The web client's pages and files are no part of the API.
    return operation ? misfitOfOperation(operation, exchange) : null
  }
  const operation = operationFor(method, path)
  return operation ? misfitOfOperation(operation, exchange) : misfitOfEarly(exchange)
}

const misfits: string[] = []

const tell = (exchange: Exchange, misfit: string | null): void => {
  if (misfit === null) return
  const {method, path, status, body} = exchange
  misfits.push(`${method} ${path} → ${status}: ${misfit}\n    ${body.slice(0, 500)}`)
}

const throwMisfits = () => {
  if (misfits.length === 0) return
  throw new Error(`what the server said is not what /openapi.json says:\n  ${misfits.splice(0).join('\n  ')}`)
}
afterEach(throwMisfits)
afterAll(throwMisfits)

const ports = new Set<number>()
const elsewhere = new Set<string>()

/** From here on each answer of the server at this port, in this process, is held against the document. Gives what ends it. */
export const watchAnswers = (port: number): (() => void) => {
  ports.add(port)
  return () => ports.delete(port)
}

/** The server at this address runs in another process: what {@link checkAnswer} is told of it is held against the document. */
export const watchProcess = (url: string): void => {
  elsewhere.add(url)
}

/** The longest list has 4 MiB; an export may have any length. */
const MAX_BODY = 5 * 1024 * 1024

const watch = (request: IncomingMessage & Partial<Request>, response: ServerResponse): void => {
  const path = request.url!.split('?')[0]!
  const {method} = request
  const chunks: Buffer[] = []
  let bytes = 0
  const keep = (chunk: unknown, encoding: unknown) => {
    if (chunk === null || chunk === undefined || typeof chunk === 'function' || bytes > MAX_BODY) return
    const isText = typeof chunk === 'string'
    const buffer = isText
      ? Buffer.from(chunk, (typeof encoding === 'string' ? encoding : 'utf8') as BufferEncoding)
      : Buffer.from(chunk as Uint8Array)
    bytes += buffer.length
    if (bytes > MAX_BODY) chunks.length = 0
    else chunks.push(buffer)
  }
  const {write, end} = response
  response.write = ((...args: Parameters<typeof write>) => {
    keep(args[0], args[1])
    return write.apply(response, args)
  }) as typeof write
  response.end = ((...args: Parameters<typeof end>) => {
    keep(args[0], args[1])
    return end.apply(response, args)
  }) as typeof end
  response.once('finish', () => {
    const exchange: Exchange = {
      method: method!,
      path,
      pattern: request.route?.path,
      status: response.statusCode,
      header: (name) => {
        const value = response.getHeader(name)
        return value === undefined ? null : String(value)
      },
      body: method === 'HEAD' ? '' : Buffer.concat(chunks).toString(),
      isCut: bytes > MAX_BODY,
    }
    tell(exchange, misfitOf(exchange))
  })
}

diagnostics.subscribe('http.server.request.start', (message) => {
  const {request, response, socket} = message as {
    request: IncomingMessage & Partial<Request>
    response: ServerResponse
    socket: {localPort?: number}
  }
  if (!ports.has(socket.localPort ?? 0) || request.url!.startsWith('/socket.io')) return
  watch(request, response)
})

/** What a client was answered. A server in this process is watched from inside already, and a test's own is none of ours. */
export const checkAnswer = (url: string, exchange: Exchange): void => {
  if (elsewhere.has(url)) tell(exchange, misfitOf(exchange))
}

/** Holds what a server sent to a socket against the documented events. */
export const checkReceived = (name: string, args: unknown[]): void => {
  const {document, misfit} = contract()
  const event = document['x-socket-events'].find((one) => one.from === 'server' && one.name === name)
  const wrong = event
    ? event.args.map(({schema}, index) => misfit(schema, args[index])).find((one) => one !== null)
    : 'it is not documented'
  if (wrong) misfits.push(`the event ${name}: ${wrong}\n    ${JSON.stringify(args).slice(0, 500)}`)
}

/** Holds what a callback got against the documented event. An event that does not exist may still be refused. */
export const checkCallback = (name: string, answer: {ok?: unknown; code?: unknown}): void => {
  const {document, misfit} = contract()
  const event = document['x-socket-events'].find((one) => one.from === 'client' && one.name === name)
  let wrong: string | null
  if (answer.ok === true) wrong = event?.callback ? misfit(event.callback, answer) : 'it is not documented'
  else {
    wrong = misfit(document.components.schemas.Error!, answer)
    const codes: readonly unknown[] = event?.errors ?? ['NOT_FOUND', 'RATE_LIMITED', 'UNAVAILABLE']
    if (wrong === null && !codes.includes(answer.code)) wrong = `the code ${answer.code} is not documented`
  }
  if (wrong !== null) misfits.push(`the callback of ${name}: ${wrong}\n    ${JSON.stringify(answer).slice(0, 500)}`)
}
