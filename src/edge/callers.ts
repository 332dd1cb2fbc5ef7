import {createHash, timingSafeEqual} from 'node:crypto'
import type {Request} from 'express'

import {type Actor, type Provider, type UserId, Username} from '../domain/user.ts'
import {users} from '../projections/users.ts'
import {ApiError, invalid} from './errors.ts'

import type {Parts} from './parts.ts'

/** Who asks: a signed-in person, or a bot. */
export type Person = Actor & {provider: Provider; email: string | null}

const BOT_ID = /^[a-z0-9_-]{1,32}$/

/** A bot: whoever brings the token. Null where the token is wrong or there are no bots. Throws INVALID for a wrong id or name. */
export const botOf = (
  expected: string | null,
  {botToken, botId = 'bot', botName}: {botToken: string; botId?: string | undefined; botName?: string | undefined},
): Person | null => {
  if (expected === null || !sameToken(botToken, expected)) return null
  const name = botName ?? botId
  if (!BOT_ID.test(botId)) throw invalidBot('botId', 'must be 1 to 32 of a-z, 0-9, _ and -')
  const username = Username.safeParse(name)
  if (!username.success) throw invalid(username.error, 'botName')
  const userId = `bot_${botId}` as UserId
  return {userId, username: name, isBot: true, identity: null, provider: 'email', email: null}
}

const invalidBot = (path: string, message: string) => new ApiError('INVALID', {issues: [{path, message}]})

/** By digest, so that neither length nor content of the right one can be told from the time. */
const sameToken = (given: string, expected: string): boolean =>
  timingSafeEqual(createHash('sha256').update(given).digest(), createHash('sha256').update(expected).digest())

/** Where people are looked up, and what tells whether that table may be believed. */
type Lookup = Pick<Parts, 'people' | 'log' | 'applied'>

/**
 * The person of this session, if there still is one. Nobody is told to sign in because the table is behind: where it
 * does not have the person, it is asked again once it holds what the log holds now. Throws UNAVAILABLE and BEHIND.
 */
export const personOf = async ({people, log, applied}: Lookup, userId: UserId): Promise<Person | null> => {
  if (applied.building([users]).length > 0) throw new ApiError('UNAVAILABLE', {}, 2)
  let user = await people.find(userId)
  if (!user) {
    const head = await log.head()
    if (head !== null && !(await applied.reached([users], head, 2_000))) throw new ApiError('BEHIND')
    user = await people.find(userId)
  }
  return user && {...user, isBot: false}
}

type Callers = Lookup & Pick<Parts, 'config'>

/** Who sends this request: a bot by its bearer token, else the session's person. Throws NOT_SIGNED_IN. */
export const callerOf = async (req: Request, parts: Callers): Promise<Person> => {
  const person = await anyCallerOf(req, parts)
  if (!person) throw new ApiError('NOT_SIGNED_IN')
  return person
}

/** The same, or null for who is not signed in. A bot with a wrong token is told so. Throws NOT_SIGNED_IN. */
export const anyCallerOf = async (req: Request, parts: Callers): Promise<Person | null> => {
  const bearer = /^Bearer (.+)$/i.exec(req.get('authorization') ?? '')?.[1]
  if (bearer === undefined) return req.session?.userId ? personOf(parts, req.session.userId) : null
  const bot = botOf(parts.config.chatBotToken, {botToken: bearer, botId: req.get('x-bot-id')})
  if (!bot) throw new ApiError('NOT_SIGNED_IN')
  return bot
}
