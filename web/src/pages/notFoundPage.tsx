import {Link} from '../router.tsx'
import {PageTitle} from '../ui/parts.tsx'

export const NotFoundPage = () => (
  <div className="page page-narrow">
    <PageTitle title="Nothing here">There is no page here</PageTitle>
    <p>The address may have been cut off. Everything there is can be reached from the start.</p>
    <p>
      <Link to="/" className="button button-main">
        Go to the start
      </Link>
    </p>
  </div>
)
