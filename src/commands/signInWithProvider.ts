import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideClaim} from '../domain/identity.ts'
import {decideRegister, decideTakeOver, type UserId} from '../domain/user.ts'
import {newUserId, newUsername} from '../keys/ids.ts'
import type {KeyStore} from '../keys/keyStore.ts'
import {identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'
import {signIn} from './logIn.ts'

/** Who somebody is at a provider. `username` is null where there is none that we can take. */
export type ProviderAccount = {
  provider: 'discord' | 'reddit'
  subject: string
  username: string | null
  email: string | null
}

/**
 * Signs in by Discord or Reddit, and registers whoever comes for the first time. Provider and subject say who it is, and
 * nothing else does: an address proves nothing here. Claiming the identity decides between two first logins at once; a
 * crash before it leaves a registration that nobody owns and that stands in nobody's way.
 */
export const signInWithProvider = async (
  {execute, keys}: {execute: Execute; keys: KeyStore},
  account: ProviderAccount,
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{userId: UserId; position: bigint} | Refusal> => {
  const identity = keys.identityHash(account.provider, account.subject)
  const ownerOf = async (): Promise<UserId | null> => {
    const {state} = await execute.load(identityStream(identity), identityFold, {fresh: true})
    return state.kind === 'claimed' ? (state.userId as UserId) : null
  }
  let causationId: string | undefined
  const as = (userId: UserId) => ({...context, name: 'signInWithProvider', actor: userId, causationId})

  const register = async (): Promise<UserId | Refusal> => {
    const {provider, email} = account
    const userId = newUserId(provider)
    const username = account.username ?? newUsername()
    const nothing = {passwordHash: null, tokenHash: null, tokenExpiresAt: null}
    const registered = await execute.execute(userStream(userId), userFold, as(userId), (user) =>
      decideRegister(user, {userId, provider, identity, email, username, ...nothing}),
    )
    if (isRefusal(registered)) return registered
    causationId = registered.eventId
    const claimed = await execute.execute(identityStream(identity), identityFold, as(userId), (state) =>
      decideClaim(state, identity, userId),
    )
    if (!isRefusal(claimed)) {
      causationId = claimed.eventId
      return userId
    }
    causationId = undefined
    return (await ownerOf()) ?? claimed
  }

  const userId = (await ownerOf()) ?? (await register())
  if (isRefusal(userId)) return userId
  const taken = await execute.execute(userStream(userId), userFold, as(userId), (user) => decideTakeOver(user, account))
  if (isRefusal(taken)) return taken
  return signIn(execute, userId, account.provider, {
    ...context,
    name: 'signInWithProvider',
    causationId: taken.eventId ?? causationId,
  })
}
