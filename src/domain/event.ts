import type {z} from 'zod'

/**
 * What the event catalogue says of one event type. `personal` names, for each field that holds a person's id, the fields
 * that are about that person: the codec encrypts those under that person's key. Every other string is `plain`, by name,
 * so that a new field can't slip in undeclared (test/domain/catalogue.test.ts).
 *
 * A landed type is for ever: a change of shape is a new `version`, and `upcast` lifts the data of each older one.
 */
export type EventType<T extends string = string, S extends z.ZodObject = z.ZodObject> = {
  readonly type: T
  readonly version: number
  readonly data: S
  readonly personal: {readonly [subject: string]: readonly string[]}
  readonly plain: readonly string[]
  readonly upcast: (data: unknown, version: number) => unknown
}

export const eventType = <T extends string, S extends z.ZodObject>(
  type: T,
  of: {
    data: S
    personal?: {[subject in keyof z.infer<S> & string]?: readonly (keyof z.infer<S> & string)[]}
    plain: readonly (keyof z.infer<S> & string)[]
    version?: number
    upcast?: (data: unknown, version: number) => unknown
  },
): EventType<T, S> => ({
  type,
  version: of.version ?? 1,
  data: of.data,
  personal: (of.personal ?? {}) as {[subject: string]: readonly string[]},
  plain: of.plain,
  upcast: of.upcast ?? ((data) => data),
})

/** An event of the given type as the domain sees it: decrypted, of the newest version. */
export type EventOf<E> = E extends EventType<infer T, infer S> ? {type: T; data: z.infer<S>} : never

/** Fields that nobody needs to read to know what happened, though they could be opened: of passwords and mailed links. */
export const SECRETS: ReadonlySet<string> = new Set(['passwordHash', 'tokenHash'])

/** What a person's words read as when their key is destroyed. */
export const ERASED = '[erased]'

/** Why a command was not carried out. A returned value, never thrown: exceptions are for faults. */
export type Refusal =
  | {refused: 'EMAIL_TAKEN'}
  | {refused: 'TOKEN_INVALID'; reason: 'used' | 'invalid' | 'expired'}
  | {refused: 'WRONG_CREDENTIALS'}
  | {refused: 'NOT_VERIFIED'}
  | {refused: 'NOT_FOUND'}
  | {refused: 'NOT_A_MEMBER'}
  | {refused: 'NOT_INVITED'}
  | {refused: 'ROOM_FULL'}
  | {refused: 'TOO_MANY_INVITATIONS'}
  | {refused: 'IDEMPOTENCY_KEY_REUSED'}

export const refusal = <R extends Refusal>(refused: R): R => refused

/** What a `decide…` returns: the events that happen (none where all is as wished already), or a refusal. */
export type Decision<E> = readonly E[] | Refusal

export const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && 'refused' in value
