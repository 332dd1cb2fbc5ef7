import {type FormEvent, type ReactNode, useEffect, useId, useRef, useState} from 'react'
import {ask, type Failure, toFailure} from '../api.ts'
import {LIMITS, length, PASSWORD} from '../contract.ts'
import {dropQuery, navigate} from '../router.tsx'
import {loadSession, ownPath} from '../session.ts'
import {keepPlace} from '../storage.ts'
import {Button, Field, Note} from '../ui/parts.tsx'

type Step =
  | {at: 'sign-in'; email: string}
  | {at: 'sign-up'; email: string}
  | {at: 'check-email'; email: string; because: 'registered' | 'unverified'}
  | {at: 'forgot'; email: string}
  | {at: 'forgot-sent'; email: string}
  | {at: 'reset'; token: string}

const passwordError = (password: string): string | null => {
  if (length(password) < PASSWORD.minCharacters) return `Use at least ${PASSWORD.minCharacters} characters.`
  if (new TextEncoder().encode(password).length > PASSWORD.maxBytes) return 'This is too long: 72 letters at most.'
  return null
}

const addressError = (email: string): string | null =>
  /^[^\s@]+@[^\s@]+$/.test(email.trim()) ? null : 'Enter an address such as you@example.com.'

const inTime = (seconds: number): string => {
  if (seconds < 90) return `in ${seconds} seconds`
  const at = new Date(Date.now() + seconds * 1000)
  const clock = at.toLocaleTimeString(undefined, {hour: '2-digit', minute: '2-digit'})
  return at.toDateString() === new Date().toDateString() ? `at ${clock}` : `tomorrow at ${clock}`
}

/** The sentence for a person, with when it makes sense to try again. */
const inWords = (failure: Failure): string =>
  failure.code === 'RATE_LIMITED' && failure.retryAfter
    ? `That was too often. You can try again ${inTime(failure.retryAfter)}.`
    : failure.message

const finish = async (redirect: string): Promise<void> => {
  await loadSession()
  // Whoever wanted to see another page is there already.
  const stays = window.location.pathname !== '/'
  navigate(stays ? `${window.location.pathname}?login=ok` : ownPath(redirect), {replace: stays})
}

/** Every way in, in one place. */
export const SignIn = ({title = 'Sign in'}: {title?: string}) => {
  const token = new URLSearchParams(window.location.search).get('reset')
  const [step, setStep] = useState<Step>(token ? {at: 'reset', token} : {at: 'sign-in', email: ''})
  useEffect(() => {
    if (token) dropQuery('reset')
  }, [token])
  return (
    <section className="card sign-in" aria-label="Sign in">
      {step.at === 'sign-in' && <EmailSignIn title={title} email={step.email} go={setStep} />}
      {step.at === 'sign-up' && <SignUp email={step.email} go={setStep} />}
      {step.at === 'check-email' && <CheckEmail {...step} go={setStep} />}
      {step.at === 'forgot' && <Forgot email={step.email} go={setStep} />}
      {step.at === 'forgot-sent' && (
        <>
          <StepTitle>Check your email</StepTitle>
          <p>
            If <strong>{step.email}</strong> is registered here, a mail with a link to choose a new password is on its
            way.
          </p>
          <Button onClick={() => setStep({at: 'sign-in', email: step.email})}>Back to sign in</Button>
        </>
      )}
      {step.at === 'reset' && <Reset token={step.token} go={setStep} />}
    </section>
  )
}

type Go = (step: Step) => void

/** A step's heading takes the focus when the step was come to, so that it is read out. */
const StepTitle = ({children, first = false}: {children: ReactNode; first?: boolean}) => {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    if (!first) heading.current?.focus()
  }, [first])
  return (
    <h2 ref={heading} tabIndex={-1}>
      {children}
    </h2>
  )
}

/** What the forms share: one request at a time, and its failure. */
const useSubmit = (send: () => Promise<void>) => {
  const [busy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const submit = async (event?: FormEvent) => {
    event?.preventDefault()
    if (busy) return
    setBusy(true)
    setFailure(null)
    try {
      await send()
    } catch (error) {
      setFailure(toFailure(error))
    }
    setBusy(false)
  }
  return {busy, failure, submit}
}

const LinkButton = ({children, onClick}: {children: ReactNode; onClick: () => void}) => (
  <button type="button" className="link-button" onClick={onClick}>
    {children}
  </button>
)

const EmailSignIn = ({title, email: given, go}: {title: string; email: string; go: Go}) => {
  const [email, setEmail] = useState(given)
  const [password, setPassword] = useState('')
  const [tried, setTried] = useState(false)
  const {busy, failure, submit} = useSubmit(async () => {
    setTried(true)
    if (addressError(email) || password === '') return
    try {
      const {body} = await ask<{redirect: string}>('POST', '/api/email/login', {email, password})
      await finish(body.redirect)
    } catch (error) {
      const failed = toFailure(error)
      if (failed.code !== 'NOT_VERIFIED') throw failed
      go({at: 'check-email', email, because: 'unverified'})
    }
  })
  return (
    <>
      <StepTitle first={given === ''}>{title}</StepTitle>
      <OtherSites />
      <div className="or" aria-hidden="true">
        <span>or by email</span>
      </div>
      <form onSubmit={submit} noValidate>
        <Field
          label="Email address"
          type="email"
          autoComplete="username"
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          error={tried ? addressError(email) : null}
        />
        <Field
          label="Password"
          type="password"
          autoComplete="current-password"
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          error={tried && password === '' ? 'Enter your password.' : null}
        />
        {failure && (
          <Note tone="bad">
            <p>{inWords(failure)}</p>
          </Note>
        )}
        <Button type="submit" look="main" busy={busy} className="wide">
          Sign in
        </Button>
      </form>
      <p className="sign-in-more">
        <LinkButton onClick={() => go({at: 'sign-up', email})}>Create an account</LinkButton>
        <LinkButton onClick={() => go({at: 'forgot', email})}>Forgot your password?</LinkButton>
      </p>
    </>
  )
}

const SITES = [
  {name: 'Discord', path: '/api/login'},
  {name: 'Reddit', path: '/api/reddit/login'},
]

const OtherSites = () => {
  const [failure, setFailure] = useState<string | null>(null)
  const [busy, setBusy] = useState<string | null>(null)

  /** Looks first: where it is not set up, the answer would be a page of JSON. */
  const start = async ({name, path}: (typeof SITES)[number]) => {
    setBusy(name)
    setFailure(null)
    try {
      const answer = await fetch(path, {redirect: 'manual', credentials: 'include'})
      if (answer.type === 'opaqueredirect') {
        keepPlace(window.location.pathname === '/' ? '' : window.location.pathname)
        return window.location.assign(path)
      }
      setFailure(`Signing in with ${name} is not set up on this server. Use your email address.`)
    } catch (error) {
      setFailure(toFailure(error).message)
    }
    setBusy(null)
  }
  return (
    <div className="other-sites">
      {SITES.map((site) => (
        <Button key={site.name} busy={busy === site.name} onClick={() => void start(site)}>
          <span className="visually-hidden">Continue with </span>
          {site.name}
        </Button>
      ))}
      {failure && (
        <Note tone="bad">
          <p>{failure}</p>
        </Note>
      )}
    </div>
  )
}

const SignUp = ({email: given, go}: {email: string; go: Go}) => {
  const [email, setEmail] = useState(given)
  const [username, setUsername] = useState('')
  const [password, setPassword] = useState('')
  const [tried, setTried] = useState(false)
  const nameError = length(username) > LIMITS.username ? `At most ${LIMITS.username} characters, please.` : null
  const {busy, failure, submit} = useSubmit(async () => {
    setTried(true)
    if (addressError(email) || passwordError(password) || nameError) return
    const name = username.trim() === '' ? {} : {username}
    await ask('POST', '/api/email/register', {email, password, ...name})
    go({at: 'check-email', email, because: 'registered'})
  })
  return (
    <>
      <StepTitle>Create an account</StepTitle>
      <form onSubmit={submit} noValidate>
        <Field
          label="Name"
          autoComplete="nickname"
          value={username}
          onChange={(event) => setUsername(event.target.value)}
          hint="What others see. Leave it empty to get one."
          error={nameError}
        />
        <Field
          label="Email address"
          type="email"
          autoComplete="username"
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          hint="Nobody else sees it."
          error={tried ? addressError(email) : null}
        />
        <Field
          label="Password"
          type="password"
          autoComplete="new-password"
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          hint={`At least ${PASSWORD.minCharacters} characters.`}
          error={tried ? passwordError(password) : null}
        />
        {failure && (
          <Note tone="bad">
            <p>{inWords(failure)}</p>
            {failure.code === 'EMAIL_TAKEN' && (
              <LinkButton onClick={() => go({at: 'forgot', email})}>Choose a new password</LinkButton>
            )}
          </Note>
        )}
        <Button type="submit" look="main" busy={busy} className="wide">
          Create account
        </Button>
      </form>
      <p className="sign-in-more">
        <LinkButton onClick={() => go({at: 'sign-in', email})}>I have an account</LinkButton>
      </p>
    </>
  )
}

const RESEND_S = 30

const CheckEmail = ({email, because, go}: {email: string; because: 'registered' | 'unverified'; go: Go}) => {
  const [wait, setWait] = useState(because === 'registered' ? RESEND_S : 0)
  const [sent, setSent] = useState(false)
  const hint = useId()
  useEffect(() => {
    if (wait <= 0) return
    const timer = setTimeout(() => setWait(wait - 1), 1_000)
    return () => clearTimeout(timer)
  }, [wait])
  const {busy, failure, submit} = useSubmit(async () => {
    if (wait > 0) return
    setSent(false)
    try {
      await ask('POST', '/api/email/resend-verification', {email})
      setSent(true)
      setWait(RESEND_S)
    } catch (error) {
      const failed = toFailure(error)
      if (failed.retryAfter) setWait(failed.retryAfter)
      throw failed
    }
  })
  return (
    <>
      <StepTitle>{because === 'registered' ? 'Check your email' : 'Confirm your address first'}</StepTitle>
      <p>
        {because === 'registered' ? 'We sent a link to ' : 'Your password is right, but the link in the mail to '}
        <strong>{email}</strong>
        {because === 'registered' ? '. Open it within 24 hours and you are in.' : ' was not opened yet.'}
      </p>
      <p className="hint">Nothing there? Look into the spam folder, or have it sent again.</p>
      {sent && (
        <Note tone="good">
          <p>Sent again. The newest mail is the one to use.</p>
        </Note>
      )}
      {failure && (
        <Note tone="bad">
          <p>{inWords(failure)}</p>
        </Note>
      )}
      <Button
        look="main"
        busy={busy}
        className="wide"
        onClick={() => void submit()}
        aria-disabled={wait > 0 || undefined}
        aria-describedby={hint}
      >
        Send the mail again
      </Button>
      <p className="hint resend-hint" id={hint}>
        {wait > 0 ? `You can send it again ${inTime(wait)}.` : 'You can send it again now.'}
      </p>
      <p className="sign-in-more">
        <LinkButton onClick={() => go({at: 'sign-in', email})}>Back to sign in</LinkButton>
        <LinkButton onClick={() => go({at: 'sign-up', email: ''})}>Use another address</LinkButton>
      </p>
    </>
  )
}

const Forgot = ({email: given, go}: {email: string; go: Go}) => {
  const [email, setEmail] = useState(given)
  const [tried, setTried] = useState(false)
  const {busy, failure, submit} = useSubmit(async () => {
    setTried(true)
    if (addressError(email)) return
    await ask('POST', '/api/email/forgot', {email})
    go({at: 'forgot-sent', email})
  })
  return (
    <>
      <StepTitle>Choose a new password</StepTitle>
      <p>Tell us your email address, and we mail you a link that lets you choose a new one.</p>
      <form onSubmit={submit} noValidate>
        <Field
          label="Email address"
          type="email"
          autoComplete="username"
          value={email}
          onChange={(event) => setEmail(event.target.value)}
          error={tried ? addressError(email) : null}
        />
        {failure && (
          <Note tone="bad">
            <p>{inWords(failure)}</p>
          </Note>
        )}
        <Button type="submit" look="main" busy={busy} className="wide">
          Mail me a link
        </Button>
      </form>
      <p className="sign-in-more">
        <LinkButton onClick={() => go({at: 'sign-in', email})}>Back to sign in</LinkButton>
      </p>
    </>
  )
}

const Reset = ({token, go}: {token: string; go: Go}) => {
  const [password, setPassword] = useState('')
  const [tried, setTried] = useState(false)
  const {busy, failure, submit} = useSubmit(async () => {
    setTried(true)
    if (passwordError(password)) return
    const {body} = await ask<{redirect: string}>('POST', '/api/email/reset', {token, password})
    await finish(body.redirect)
  })
  return (
    <>
      <StepTitle>Choose a new password</StepTitle>
      <p>It signs you in here, and signs you out everywhere else.</p>
      <form onSubmit={submit} noValidate>
        <Field
          label="New password"
          type="password"
          autoComplete="new-password"
          value={password}
          onChange={(event) => setPassword(event.target.value)}
          hint={`At least ${PASSWORD.minCharacters} characters.`}
          error={tried ? passwordError(password) : null}
        />
        {failure && (
          <Note tone="bad">
            <p>{inWords(failure)}</p>
            {failure.code === 'TOKEN_INVALID' && (
              <LinkButton onClick={() => go({at: 'forgot', email: ''})}>Ask for a new link</LinkButton>
            )}
          </Note>
        )}
        <Button type="submit" look="main" busy={busy} className="wide">
          Save and sign in
        </Button>
      </form>
      <p className="sign-in-more">
        <LinkButton onClick={() => go({at: 'sign-in', email: ''})}>Back to sign in</LinkButton>
      </p>
    </>
  )
}
