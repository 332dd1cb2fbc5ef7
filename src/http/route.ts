import type {Request, Response} from 'express'
import type {z} from 'zod'
import type {Person} from '../edge/callers.ts'
import type {Code} from '../edge/errors.ts'
import type {ReadTable} from '../projections/readTable.ts'
import type {WrittenJson} from './writtenJson.ts'

export type Incoming<P, Q, B> = {
  params: P
  query: Q
  body: B
  /** What an Idempotency-Key makes of the request: the same for each repeat, null without one. */
  repeat: string | null
  requestId: string
  req: Request
  res: Response
}

/**
 * What a handler gives back. `position`: a write, which is answered once the route's tables hold it. `redirect` instead of
 * a body.
 */
export type Answer<A> = {
  body?: A
  /** The body where it stands written already. */
  written?: WrittenJson
  redirect?: string
  position?: bigint | null
  headers?: Record<string, string>
}

type Shape = z.ZodType

/** An answer that the handler writes by itself. `types`: its media types. `of`: what it is, where that is JSON. */
export type Written = {types: readonly string[]; of?: Shape; ranges?: boolean}

/** A multipart form with one file, which the handler reads by itself. */
export type FileForm = {field: string; types: readonly string[]; maxBytes: number}

/**
 * One operation: what is mounted, checked and documented. `auth`: `none` never looks who asks; `person` wants a session or
 * a bot's token, `optional` can do without. `tables`: what it reads (a GET waits until they hold what the client saw) or what shows its write.
 */
export type Route = {
  operationId: string
  method: 'get' | 'post' | 'delete'
  path: string
  summary: string
  /** What a client's writer should know beyond the schemas, in Markdown's simplest form: paragraphs and `code`. */
  description?: string
  auth: 'none' | 'session' | 'person' | 'optional'
  params?: Shape
  query?: Shape
  body?: Shape
  file?: FileForm
  answer: Shape | 'redirect' | Written
  /** What the answer is with another status than the usual one. */
  also?: {readonly [status: number]: Shape}
  errors: readonly Code[]
  tables: readonly ReadTable[]
  /** A GET that changes something: a HEAD must not run it. */
  unsafe?: boolean
  /** Takes an Idempotency-Key. */
  repeatable?: boolean
  handle: (incoming: Incoming<unknown, unknown, unknown> & {by: Person}) => Promise<Answer<unknown>>
}

/** TypeScript does not carry the literal of `ok: true` into a handler that is inferred; the answer's schema still does. */
type Loose<T> = {[K in keyof T]: T[K] extends true ? boolean : T[K]}

type Out<S> = S extends z.ZodType ? z.output<S> : undefined

/** Ties the handler's types to the route's schemas. */
export const route = <
  const A extends Route['auth'],
  P extends Shape | undefined = undefined,
  Q extends Shape | undefined = undefined,
  B extends Shape | undefined = undefined,
  R extends Shape | 'redirect' | Written = Shape,
>(declared: {
  operationId: string
  method: Route['method']
  path: string
  summary: string
  description?: string
  auth: A
  params?: P
  query?: Q
  body?: B
  file?: FileForm
  answer: R
  also?: Route['also']
  errors?: readonly Code[]
  tables?: readonly ReadTable[]
  unsafe?: boolean
  repeatable?: boolean
  handle: (
    incoming: Incoming<Out<P>, Out<Q>, Out<B>> &
      (A extends 'person' ? {by: Person} : A extends 'optional' ? {by: Person | null} : unknown),
  ) => Promise<Answer<R extends z.ZodType ? Loose<z.input<R>> : undefined>>
}): Route => ({errors: [], tables: [], ...declared}) as unknown as Route
