import type {SignInMeans} from '../domain/access.ts'
import {isRefusal, type Refusal} from '../domain/event.ts'
import type {IdentityHash} from '../domain/identity.ts'
import {isSomebody, type User, type UserId} from '../domain/user.ts'
import type {KeyStore} from '../keys/keyStore.ts'
import {accessFold, accessStream, identityFold, identityStream, userFold, userStream} from '../streams/streams.ts'
import type {CommandContext, Execute} from './execute.ts'

/** Compares with bcrypt; with null it compares with a hash of nothing, so that it takes as long and says no. */
type ComparePassword = (password: string, hash: string | null) => Promise<boolean>

/**
 * By address and password: one comparison, whoever it is. At an address that nobody has verified, the newest attempt's
 * password tells apart who registered it (and may have the mail sent again) from everybody else.
 */
export const logIn = async (
  {
    execute,
    keys,
    openAttempts,
    comparePassword,
    onFailed,
  }: {
    execute: Execute
    keys: KeyStore
    openAttempts: (identity: IdentityHash) => Promise<{userId: UserId; hasPassword: boolean}[]>
    comparePassword: ComparePassword
    /** Told where there is somebody whose password it was meant to be. */
    onFailed: (userId: UserId, refused: Refusal['refused']) => void
  },
  {email, password}: {email: string; password: string},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{userId: UserId; position: bigint} | (Refusal & {attempt?: UserId})> => {
  const identity = keys.identityHash('email', email)
  const {state: owner} = await execute.load(identityStream(identity), identityFold, {fresh: true})
  const userId =
    owner.kind === 'claimed'
      ? (owner.userId as UserId)
      : (await openAttempts(identity)).find(({hasPassword}) => hasPassword)?.userId
  const user: User = userId ? (await execute.load(userStream(userId), userFold, {fresh: true})).state : userFold.initial
  const refuse = <R extends Refusal>(refused: R): R => {
    if (isSomebody(user)) onFailed(user.userId, refused.refused)
    return refused
  }
  const matches = await comparePassword(password, isSomebody(user) ? user.passwordHash : null)
  if (!matches || !isSomebody(user)) return refuse({refused: 'WRONG_CREDENTIALS'})
  if (owner.kind !== 'claimed') return {...refuse({refused: 'NOT_VERIFIED'}), attempt: user.userId}
  // The comparison took its time: a password that was changed meanwhile signs nobody in any more.
  const {state: now} = await execute.load(userStream(user.userId), userFold, {fresh: true})
  if (!isSomebody(now) || now.passwordHash !== user.passwordHash) return refuse({refused: 'WRONG_CREDENTIALS'})
  return signIn(execute, user.userId, 'password', {...context, name: 'logIn'})
}

/** Writes down that a person signed in. */
export const signIn = async (
  execute: Execute,
  userId: UserId,
  by: SignInMeans,
  context: Omit<CommandContext, 'actor'>,
): Promise<{userId: UserId; position: bigint}> => {
  const signedIn = await execute.execute(accessStream(userId), accessFold, {...context, actor: userId}, () => [
    {type: 'SignedIn', data: {userId, by}},
  ])
  if (isRefusal(signedIn)) throw new Error('signing in was refused by the access stream')
  return {userId, position: signedIn.position!}
}
