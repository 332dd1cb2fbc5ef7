import {type FormEvent, useState} from 'react'
import {ask, type Failure, toFailure} from '../api.ts'
import type {User} from '../contract.ts'
import {forgetStored} from '../storage.ts'
import {Avatar, Button, Dialog, Field, Note} from '../ui/parts.tsx'

const SITE = {discord: 'Discord', reddit: 'Reddit', email: 'email'}

/** Who one is here, one's data, and the way out. */
export const AccountDialog = ({user, onClose}: {user: User; onClose: () => void}) => {
  const [erasing, setErasing] = useState(false)
  return (
    <Dialog title={erasing ? 'Erase your account' : 'Your account'} onClose={onClose}>
      {erasing ? (
        <Erase user={user} onCancel={() => setErasing(false)} />
      ) : (
        <Account user={user} onErase={() => setErasing(true)} />
      )}
    </Dialog>
  )
}

const Account = ({user, onErase}: {user: User; onErase: () => void}) => (
  <>
    <div className="account-card">
      <Avatar id={user.id} name={user.username} />
      <div>
        <p className="account-card-name">
          <bdi>{user.username}</bdi>
        </p>
        <p className="hint">{user.email ?? `Signed in with ${SITE[user.provider]}`}</p>
      </div>
    </div>
    <p className="id-line">
      Your id, by which others can invite you: <code>{user.id}</code>
    </p>
    <section className="account-part">
      <h3>Your data</h3>
      <p>Everything that is kept about you, as one file.</p>
      <a className="button button-quiet" href="/api/me/export" download="my-data.json">
        Download my data
      </a>
    </section>
    <section className="account-part">
      <h3>Erase</h3>
      <p>What you wrote can no longer be read by anybody, and you can not sign in any more.</p>
      <Button look="danger" onClick={onErase}>
        Erase my account…
      </Button>
    </section>
    <div className="dialog-foot">
      <a className="button button-quiet" href="/api/logout" onClick={forgetStored}>
        Sign out
      </a>
    </div>
  </>
)

const Erase = ({user, onCancel}: {user: User; onCancel: () => void}) => {
  const [password, setPassword] = useState('')
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const isEmail = user.provider === 'email'
  const erase = async (event: FormEvent) => {
    event.preventDefault()
    if (busy) return
    setBusy(true)
    setFailure(null)
    try {
      await ask('DELETE', '/api/me', isEmail ? {password} : {})
      forgetStored()
      window.location.assign('/')
    } catch (error) {
      setFailure(toFailure(error))
      setBusy(false)
    }
  }
  return (
    <form onSubmit={erase}>
      <p>
        This can not be undone. Your posts and messages stay as empty places in the conversations of others; your name,
        your words and your files are gone.
      </p>
      {isEmail ? (
        <Field
          label="Your password"
          type="password"
          autoComplete="current-password"
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          data-first
        />
      ) : (
        <p className="hint">
          You must have signed in within the last 5 minutes. If it is longer ago, sign out and in again first.
        </p>
      )}
      {failure && (
        <Note tone="bad">
          <p>{failure.message}</p>
        </Note>
      )}
      <div className="dialog-foot">
        <Button onClick={onCancel}>Keep my account</Button>
        <Button type="submit" look="danger" busy={busy}>
          Erase everything
        </Button>
      </div>
    </form>
  )
}
