import {ask, type Failure, onSignedOut, toFailure} from './api.ts'
import type {User} from './contract.ts'
import {readStored, writeStored} from './storage.ts'
import {createStore} from './store.ts'

export type Session =
  | {status: 'unknown'; failure: Failure | null}
  | {status: 'out'; ended: boolean}
  | {status: 'in'; user: User}

const HINT = 'signed-in'
/** Whether this browser was signed in when it was last here, so that the right page can be prepared. */
export const expectsSession = (): boolean => readStored<boolean>(HINT) === true

/** Who is signed in. `ended`: somebody was, until the server said that the session is over. */
export const session = createStore<Session>({status: 'unknown', failure: null})

session.subscribe(() => {
  const {status} = session.get()
  if (status !== 'unknown') writeStored(HINT, status === 'in' ? true : null)
})
onSignedOut(() => session.update((now) => (now.status === 'in' ? {status: 'out', ended: true} : now)))

export const loadSession = async (): Promise<void> => {
  try {
    const {body} = await ask<{user: User}>('GET', '/api/me')
    session.set({status: 'in', user: body.user})
  } catch (error) {
    const failure = toFailure(error)
    session.set(failure.code === 'NOT_SIGNED_IN' ? {status: 'out', ended: false} : {status: 'unknown', failure})
  }
}

/** Only a path of this site: an answer never sends anybody elsewhere. */
export const ownPath = (redirect: string): string => (/^\/(?![/\\])/.test(redirect) ? redirect : '/')
