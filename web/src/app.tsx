import {type ReactNode, useEffect, useState} from 'react'
import {AccountDialog} from './account/accountDialog.tsx'
import {liveStatus} from './live/live.ts'
import {myRooms, unread} from './live/rooms.ts'
import {dismiss, dismissAll, notices, notify, spoken} from './notices.ts'
import {HomePage} from './pages/homePage.tsx'
import {NotFoundPage} from './pages/notFoundPage.tsx'
import {PostPage} from './posts/postPage.tsx'
import {PostsPage} from './posts/postsPage.tsx'
import {RoomsPage} from './rooms/roomsPage.tsx'
import {dropQuery, Link, navigate, usePlace} from './router.tsx'
import {SearchDialog} from './search/searchDialog.tsx'
import {loadSession, session} from './session.ts'
import {takePlace} from './storage.ts'
import {useStore} from './store.ts'
import {Avatar, FailureNote, Icon, pageTitle} from './ui/parts.tsx'

const pageOf = (path: string): ReactNode => {
  const [first = '', second, ...rest] = path
    .split('/')
    .slice(1)
    .filter((part, at) => at === 0 || part !== '')
  if (rest.length > 0) return <NotFoundPage />
  if (first === '' && second === undefined) return <HomePage />
  if (first === 'posts') return second === undefined ? <PostsPage /> : <PostPage key={second} postId={second} />
  if (first === 'rooms') return <RoomsPage roomId={second === undefined ? null : decoded(second)} />
  return <NotFoundPage />
}

const decoded = (part: string): string => {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

const FAILED = new Map([
  ['used', 'This link was used already. Sign in with your password.'],
  ['expired', 'This link is older than 24 hours. Sign in with your password to get a new one.'],
  ['invalid', 'This link is not complete, or not one of ours. Open it from the mail again, or copy all of it.'],
  ['denied', 'You were not signed in, because permission was not given. Try again, or sign in another way.'],
  ['state', 'This sign-in was begun in another window, or too long ago. Please try again.'],
  ['provider', 'The other site did not answer as it should. Try again in a moment, or sign in by email.'],
])
const FAILED_OTHERWISE = 'Signing in did not work. Please try again, or sign in another way.'
const NOT_KEPT = 'Signing in worked, but this browser did not keep it. Allow cookies for this site, then sign in again.'

/** What a sign-in by link or by another site brought back, said in words and taken out of the address. */
const useLoginAnswer = (search: string) => {
  const now = useStore(session)
  const query = new URLSearchParams(search)
  const login = query.get('login')
  const reason = query.get('reason')
  const {status} = now
  const name = now.status === 'in' ? now.user.username : null
  useEffect(() => {
    if (status === 'unknown') return
    if (login === 'failed') {
      // The second click on a link that worked.
      if (reason === 'used' && name !== null)
        notify('plain', `This link was used already. You are signed in as ${name}.`)
      else notify('bad', FAILED.get(reason ?? '') ?? FAILED_OTHERWISE)
      dropQuery('login', 'reason')
    }
    if (login === 'ok' && status === 'out') {
      notify('bad', NOT_KEPT)
      dropQuery('login')
    }
    if (login === 'ok' && name !== null) {
      notify('good', `You are signed in as ${name}.`)
      dropQuery('login')
      const returnTo = takePlace()
      if (returnTo) navigate(returnTo, {replace: true})
    }
  }, [login, reason, status, name])
}

const ENDED = 'Your session has ended. Sign in again to go on.'

/** What was said to somebody is over with their session, and that it is over once they are back. */
const useSessionEnd = () => {
  const now = useStore(session)
  const hasEnded = now.status === 'out' && now.ended
  useEffect(() => {
    if (!hasEnded) return
    dismissAll()
    // The pages of rooms say it themselves.
    if (!window.location.pathname.startsWith('/rooms')) notify('plain', ENDED)
    return dismissAll
  }, [hasEnded])
}

const NAV = [
  {to: '/', name: 'Home', at: (path: string) => path === '/'},
  {to: '/posts/', name: 'Posts', at: (path: string) => path.startsWith('/posts')},
  {to: '/rooms/', name: 'Rooms', at: (path: string) => path.startsWith('/rooms')},
]

const Header = ({path}: {path: string}) => {
  const now = useStore(session)
  const {rooms} = useStore(myRooms)
  const [account, setAccount] = useState(false)
  const [searching, setSearching] = useState(false)
  useEffect(() => {
    const shortcut = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || document.querySelector('dialog'))
        return
      event.preventDefault()
      setSearching(true)
    }
    window.addEventListener('keydown', shortcut)
    return () => window.removeEventListener('keydown', shortcut)
  }, [])
  const waiting = rooms.filter((room) => unread(room) > 0).length
  return (
    <header className="top">
      <div className="top-inside">
        <Link to="/" className="brand" aria-label="Community, home">
          <span className="brand-mark" aria-hidden="true">
            <svg viewBox="0 0 32 32" aria-hidden="true">
              <path d="M8 12.500A4.500 4.500 0 0 1 12.500 8h7a4.500 4.500 0 0 1 4.500 4.500v3a4.500 4.500 0 0 1-4.500 4.500H15l-4.200 3.600c-.5.400-1.300.100-1.300-.600v-3.300A4.500 4.500 0 0 1 8 15.500z" />
            </svg>
          </span>
          <span className="brand-name">Community</span>
        </Link>
        <nav aria-label="Main">
          <ul>
            {NAV.map(({to, name, at}) => (
              <li key={to}>
                <Link to={to} aria-current={at(path) ? 'page' : undefined}>
                  {name}
                  {name === 'Rooms' && waiting > 0 && (
                    <span className="count">
                      {waiting > 99 ? '99+' : waiting}
                      <span className="visually-hidden"> with new messages</span>
                    </span>
                  )}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <button type="button" className="icon-button top-search" aria-label="Search" onClick={() => setSearching(true)}>
          <Icon name="search" />
        </button>
        <div className="top-account">
          {now.status === 'in' && (
            <button type="button" className="account-button" onClick={() => setAccount(true)}>
              <Avatar id={now.user.id} name={now.user.username} />
              <span className="account-name">
                <bdi>{now.user.username}</bdi>
              </span>
              <span className="visually-hidden">, your account</span>
            </button>
          )}
          {now.status === 'out' && path !== '/' && (
            <Link to="/" className="button button-quiet">
              Sign in
            </Link>
          )}
        </div>
      </div>
      {searching && <SearchDialog onClose={() => setSearching(false)} />}
      {account && now.status === 'in' && <AccountDialog user={now.user} onClose={() => setAccount(false)} />}
    </header>
  )
}

/** Only said once it lasts: a moment without connection is nobody's concern. */
const LOST_MS = 800

const Offline = () => {
  const status = useStore(liveStatus)
  const [long, setLong] = useState(false)
  useEffect(() => {
    if (status !== 'lost') return setLong(false)
    const timer = setTimeout(() => setLong(true), navigator.onLine ? LOST_MS : 0)
    return () => clearTimeout(timer)
  }, [status])
  return (
    <div role="status" className="offline-place">
      {long && (
        <p className="offline">
          <span className="offline-dot" aria-hidden="true" />
          No connection. What you write is kept and sent when it is back.
        </p>
      )}
    </div>
  )
}

const Notices = () => (
  <div className="notices" role="status">
    {useStore(notices).map(({id, tone, text, to, toText}) => (
      <div key={id} className={`note note-${tone}`}>
        <p>{text}</p>
        {to && (
          <Link to={to} onClick={() => dismiss(id)}>
            {toText}
          </Link>
        )}
        <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => dismiss(id)}>
          <Icon name="close" />
        </button>
      </div>
    ))}
  </div>
)

const Spoken = () => (
  <div className="visually-hidden" role="log" aria-live="polite" aria-label="What happens">
    {useStore(spoken)}
  </div>
)

export const App = () => {
  const {path, search} = usePlace()
  const now = useStore(session)
  useSessionEnd()
  useLoginAnswer(search)
  const isRoom = /^\/rooms\/[^/]+/.test(path)
  return (
    <div className={isRoom ? 'app app-room' : 'app'}>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <Header path={path} />
      <Offline />
      <Notices />
      <main id="main" tabIndex={-1}>
        {now.status === 'unknown' && now.failure ? (
          <div className="page page-narrow">
            <h1>The community can not be reached</h1>
            <FailureNote failure={now.failure} retry={() => void loadSession()} />
          </div>
        ) : (
          pageOf(path)
        )}
      </main>
      <Spoken />
      <WindowTitle />
    </div>
  )
}

/** Rooms with news are counted in the title, for those who look at another tab. */
const WindowTitle = () => {
  const {rooms} = useStore(myRooms)
  const title = useStore(pageTitle)
  const count = rooms.filter((room) => unread(room) > 0).length
  useEffect(() => {
    const whole = title === 'Community' ? title : `${title} · Community`
    document.title = count > 0 ? `(${count}) ${whole}` : whole
  }, [count, title])
  return null
}
