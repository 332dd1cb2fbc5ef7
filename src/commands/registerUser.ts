import {randomUUID} from 'node:crypto'
import {isRefusal, type Refusal, refusal} from '../domain/event.ts'
import {decideRegister, type UserId} from '../domain/user.ts'
import {newUserId} from '../keys/ids.ts'
import type {KeyStore} from '../keys/keyStore.ts'
import {type Token, tokenFor} from '../keys/token.ts'
import {identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

export const VERIFICATION_HOURS = 24

export type Registration = {
  /** Normalised. */
  email: string
  /** bcrypt's, or null: the link verifies and signs in, but sets no password. */
  passwordHash: string | null
  username: string
}

/** Queues a mail with a link before the event is appended, and releases it after: a crash between the two loses neither. */
export type SendLink = {
  enqueue(mail: {
    to: string
    username: string
    askedAt: Date
    token: Token
    awaits: {stream: string; eventId: string}
  }): Promise<void>
  release(eventId: string): Promise<void>
}

/**
 * One registration attempt, in a stream of its own: it blocks nobody else from registering the same address, and what it
 * says counts only once its own link was used.
 */
export const registerUser = async (
  {execute, keys, mail}: {execute: Execute; keys: KeyStore; mail: SendLink},
  {email, passwordHash, username}: Registration,
  context: Omit<CommandContext, 'name'>,
): Promise<{userId: UserId; position: bigint} | Refusal> => {
  const identity = keys.identityHash('email', email)
  const claimed = await execute.load(identityStream(identity), identityFold, {fresh: true})
  if (claimed.state.kind === 'claimed') return refusal({refused: 'EMAIL_TAKEN'})
  const askedAt = new Date()
  const token = tokenFor(newUserId('email'), new Date(askedAt.getTime() + VERIFICATION_HOURS * 3_600_000))
  const {userId} = token
  const eventId = randomUUID()
  const stream = userStream(userId)
  await mail.enqueue({to: email, username, askedAt, token, awaits: {stream, eventId}})
  const registration = {
    userId,
    provider: 'email' as const,
    identity,
    email,
    username,
    passwordHash,
    tokenHash: token.hash,
    tokenExpiresAt: token.expiresAt,
  }
  const registered = await execute.execute(
    stream,
    userFold,
    {...context, name: 'registerUser'},
    (user) => decideRegister(user, registration),
    {firstEventId: eventId, begins: true},
  )
  if (isRefusal(registered)) return registered
  await mail.release(eventId)
  return {userId, position: registered.position!}
}
